#include "tests/adapters/bgb/peer.h"

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <array>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

namespace greengate::test {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

std::string bio_text(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return text;
}

}  // namespace

TestIdentity make_identity(const std::string& common_name, const std::string& san_ip,
                           int days_valid, bool rsa) {
  EVP_PKEY* key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  static std::atomic<long> serial = 1;
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate), days_valid < 0 ? -86'400L * 60 : -3'600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 86'400L * days_valid);
  X509_set_pubkey(certificate, key);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1,
                             0);
  X509_set_issuer_name(certificate, name);
  if (!san_ip.empty()) {
    X509_EXTENSION* san =
        X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, ("IP:" + san_ip).c_str());
    X509_add_ext(certificate, san, -1);
    X509_EXTENSION_free(san);
  }
  if (!X509_sign(certificate, key, EVP_sha256()))
    throw std::runtime_error("signing a test certificate");

  TestIdentity made;
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, certificate);
  made.certificate_pem = bio_text(bio);
  bio = BIO_new(BIO_s_mem());
  i2d_X509_bio(bio, certificate);
  made.certificate_der = bio_text(bio);
  bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  made.private_key_pem = bio_text(bio);
  bio = BIO_new(BIO_s_mem());
  i2d_PKCS8PrivateKey_bio(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  made.private_key_der = bio_text(bio);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return made;
}

bool wait_until(const std::function<bool()>& condition, std::chrono::milliseconds patience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

std::string to_utf16le(const std::string& ascii) {
  std::string out;
  for (const char c : ascii) {
    out.push_back(c);
    out.push_back('\0');
  }
  return out;
}

std::string frame_a(std::uint32_t channel, const std::string& ascii_xml, std::uint8_t major,
                    std::uint8_t minor) {
  const std::string text = to_utf16le(ascii_xml);
  const auto size = static_cast<std::uint32_t>(text.size());
  std::string out;
  for (const std::uint32_t part : {size & 255, size >> 8 & 255, size >> 16 & 255, size >> 24})
    out.push_back(static_cast<char>(part));
  out.push_back(static_cast<char>(major));
  out.push_back(static_cast<char>(minor));
  out.push_back(12);
  out.push_back(0);
  out.push_back(static_cast<char>(channel));
  out.append(3, '\0');
  return out + text;
}

struct Peer::Impl {
  struct Conversation : std::enable_shared_from_this<Conversation> {
    Conversation(Impl& owner, tcp::socket socket, std::size_t its_number)
        : impl(owner), number(its_number), stream(std::move(socket), owner.tls) {}

    void begin() {
      if (!impl.behaviour.accept_tls) return;
      if (impl.behaviour.plain_text) {
        error_code ignored;
        asio::write(stream.next_layer(),
                    asio::buffer(std::string("HTTP/1.0 400 Bad Request\r\n\r\n")), ignored);
        return;
      }
      stream.async_handshake(
          asio::ssl::stream_base::server, [self = shared_from_this()](const error_code& wrong) {
            if (wrong) return self->end();
            {
              std::lock_guard lock(self->impl.mutex);
              self->impl.handshakes.push_back(std::chrono::steady_clock::now());
              if (SSL_session_reused(self->stream.native_handle())) ++self->impl.resumed;
            }
            error_code gone;
            self->from = self->stream.next_layer().remote_endpoint(gone).address().to_string();
            X509* certificate = SSL_get_peer_certificate(self->stream.native_handle());
            if (certificate) {
              char name[128] = "";
              X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
                                        sizeof name);
              self->client = name;
              X509_free(certificate);
            } else {
              self->impl.complain("a client came without a certificate");
            }
            self->read();
          });
    }

    void read() {
      asio::async_read(stream, asio::buffer(header),
                       [self = shared_from_this()](const error_code& wrong, std::size_t) {
                         if (wrong) return self->end();
                         const auto& h = self->header;
                         const std::uint32_t size =
                             h[0] | h[1] << 8 | h[2] << 16 | static_cast<std::uint32_t>(h[3]) << 24;
                         if (h[6] != 12 || h[7] != 0) self->impl.complain("HeaderSize is not 12");
                         if (size > 65'536 || size % 2 != 0) {
                           self->impl.complain("PayloadSize is odd or huge");
                           return self->end();
                         }
                         self->body.resize(size);
                         asio::async_read(self->stream, asio::buffer(self->body),
                                          [self](const error_code& cut, std::size_t) {
                                            if (cut) return self->end();
                                            self->message();
                                            if (!self->impl.behaviour.deaf_after_sign_in)
                                              self->read();
                                          });
                       });
    }

    void message() {
      Heard heard;
      heard.session = number;
      heard.certificate_name = client;
      heard.from = from;
      heard.channel = header[8];
      heard.major = header[4];
      heard.minor = header[5];
      heard.at = std::chrono::steady_clock::now();
      for (std::size_t i = 0; i < body.size(); i += 2) {
        if (body[i + 1] != 0) impl.complain("a character is not ASCII");
        heard.xml.push_back(static_cast<char>(body[i]));
      }
      const bool sign_in = heard.xml.starts_with("<BgbSignInMessage ");
      if (!spoke && (!sign_in || heard.channel != 0))
        impl.complain("the first message is no SignIn: " + heard.xml);
      if (spoke && sign_in) impl.complain("a second SignIn on one connection");
      const bool old_version = heard.major == 1 && heard.minor == 0;
      {
        std::lock_guard lock(impl.mutex);
        impl.all_heard.push_back(heard);
        if (sign_in) impl.signed_in.push_back(number);
      }
      if (sign_in) {
        if (impl.behaviour.close_on_sign_in) return end();
        if (impl.behaviour.negotiate_first && old_version) return write(frame_a(6, ""));
        if (!impl.behaviour.before_confirm.empty())
          write(frame_a(3, impl.behaviour.before_confirm));
        if (impl.behaviour.confirm)
          write(frame_a(1,
                        "<BgbSignInConfirmMessage "
                        "TimeStamp=\"2026-01-15T09:30:00Z\"><MessageVersion>1.0</MessageVersion></"
                        "BgbSignInConfirmMessage>"));
      }
      spoke = true;
    }

    void write(std::string bytes) {
      if (impl.behaviour.one_byte_writes) {
        for (const char c : bytes) out.emplace_back(1, c);
      } else {
        out.push_back(std::move(bytes));
      }
      if (!writing) write_next();
    }

    void write_next() {
      writing = !out.empty();
      if (!writing) return;
      asio::async_write(stream, asio::buffer(out.front()),
                        [self = shared_from_this()](const error_code& wrong, std::size_t) {
                          if (wrong) return self->end();
                          self->out.pop_front();
                          self->write_next();
                        });
    }

    void end() {
      error_code ignored;
      stream.lowest_layer().close(ignored);
      std::lock_guard lock(impl.mutex);
      impl.open.erase(number);
    }

    Impl& impl;
    const std::size_t number;
    asio::ssl::stream<tcp::socket> stream;
    std::array<unsigned char, 12> header{};
    std::vector<unsigned char> body;
    std::deque<std::string> out;
    std::string client, from;
    bool spoke = false, writing = false;
  };

  Impl(const TestIdentity& identity, Behaviour how)
      : behaviour(std::move(how)),
        tls(asio::ssl::context::tls_server),
        acceptor(io, {asio::ip::make_address("127.0.0.1"), 0}) {
    tls.use_certificate(asio::buffer(identity.certificate_pem), asio::ssl::context::pem);
    tls.use_private_key(asio::buffer(identity.private_key_pem), asio::ssl::context::pem);
    tls.set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
    tls.set_verify_callback([](bool, asio::ssl::verify_context&) { return true; });
    // A server that resumes whatever it can, by ticket and by session id.
    static constexpr unsigned char context[] = "peer";
    SSL_CTX_set_session_id_context(tls.native_handle(), context, sizeof context);
    SSL_CTX_set_client_hello_cb(tls.native_handle(), &Impl::look_at_hello, this);
    if (behaviour.tls12_only) SSL_CTX_set_max_proto_version(tls.native_handle(), TLS1_2_VERSION);
    if (behaviour.deaf_after_sign_in)
      acceptor.set_option(asio::socket_base::receive_buffer_size(4'096));
    accept();
    thread = std::thread([this] { io.run(); });
  }

  void accept() {
    acceptor.async_accept([this](const error_code& wrong, tcp::socket socket) {
      if (wrong) return;
      std::shared_ptr<Conversation> conversation;
      {
        std::lock_guard lock(mutex);
        conversation = std::make_shared<Conversation>(*this, std::move(socket), accepted++);
        conversations[conversation->number] = conversation;
        open.insert(conversation->number);
      }
      conversation->begin();
      accept();
    });
  }

  static int look_at_hello(SSL* ssl, int*, void* impl) {
    const unsigned char* data = nullptr;
    std::size_t bytes = 0;
    for (const unsigned extension : {TLSEXT_TYPE_session_ticket, TLSEXT_TYPE_psk}) {
      if (SSL_client_hello_get0_ext(ssl, extension, &data, &bytes) != 1 || bytes == 0) continue;
      std::lock_guard lock(static_cast<Impl*>(impl)->mutex);
      ++static_cast<Impl*>(impl)->resumptions_offered;
    }
    return SSL_CLIENT_HELLO_SUCCESS;
  }

  void complain(std::string sentence) {
    std::lock_guard lock(mutex);
    complaints.push_back(std::move(sentence));
  }

  Behaviour behaviour;
  asio::io_context io;
  asio::ssl::context tls;
  tcp::acceptor acceptor;
  std::thread thread;
  mutable std::mutex mutex;  // guards everything below
  std::map<std::size_t, std::shared_ptr<Conversation>> conversations;
  std::set<std::size_t> open;
  std::size_t accepted = 0, resumptions_offered = 0, resumed = 0;
  std::vector<Heard> all_heard;
  std::vector<std::size_t> signed_in;
  std::vector<std::chrono::steady_clock::time_point> handshakes;
  std::vector<std::string> complaints;
};

Peer::Peer(TestIdentity identity, Behaviour behaviour)
    : impl_(std::make_unique<Impl>(identity, std::move(behaviour))) {}
Peer::~Peer() {
  impl_->io.stop();
  impl_->thread.join();
  impl_->conversations.clear();
}
std::string Peer::address() const {
  return "127.0.0.1:" + std::to_string(impl_->acceptor.local_endpoint().port());
}
void Peer::send(std::size_t session, std::uint32_t channel, const std::string& xml) {
  send_raw(session, frame_a(channel, xml));
}
void Peer::send_raw(std::size_t session, const std::string& bytes) {
  asio::post(impl_->io, [this, session, bytes] {
    std::shared_ptr<Impl::Conversation> conversation;
    {
      std::lock_guard lock(impl_->mutex);
      conversation = impl_->conversations.at(session);
    }
    conversation->write(bytes);
  });
}
void Peer::cut(std::size_t session) {
  asio::post(impl_->io, [this, session] {
    std::shared_ptr<Impl::Conversation> conversation;
    {
      std::lock_guard lock(impl_->mutex);
      conversation = impl_->conversations.at(session);
    }
    conversation->end();
  });
}
void Peer::update_keys(std::size_t session) {
  asio::post(impl_->io, [this, session] {
    std::lock_guard lock(impl_->mutex);
    SSL_key_update(impl_->conversations.at(session)->stream.native_handle(), SSL_KEY_UPDATE_REQUESTED);
  });
}
std::size_t Peer::resumptions_offered() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->resumptions_offered;
}
std::size_t Peer::resumed() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->resumed;
}
std::vector<Heard> Peer::heard() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->all_heard;
}
std::vector<Heard> Peer::heard(const std::string& root) const {
  std::vector<Heard> found;
  for (auto& one : heard())
    if (one.xml.starts_with("<" + root + " ")) found.push_back(std::move(one));
  return found;
}
std::vector<std::chrono::steady_clock::time_point> Peer::handshakes() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->handshakes;
}
std::size_t Peer::open_sessions() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->open.size();
}
std::size_t Peer::accepted() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->accepted;
}
std::vector<std::string> Peer::complaints() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->complaints;
}
std::vector<std::size_t> Peer::signed_in() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->signed_in;
}

}  // namespace greengate::test

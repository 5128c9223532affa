// Goal: what we sign and how we spell it is what an MP verifies. Method: the specification's
// vectors, made with three independent constructions, and OpenSSL's own reading of our certificate.
#include "adapters/mp/compression.h"
#include "adapters/mp/multipart.h"
#include "adapters/mp/registration.h"
#include "adapters/mp/signing_key.h"
#include "adapters/mp/utf16.h"
#include "tests/adapters/mp/fixture.h"

#include <gtest/gtest.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <zlib.h>

namespace greengate::test {
namespace {

using namespace greengate::adapters;

const std::string& vector(const std::string& path) {
  return vectors().at("vectors." + path);
}

std::string sha256_hex(std::string_view bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  std::string hex = upper_hex({reinterpret_cast<char*>(digest), sizeof digest});
  for (char& c : hex) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return hex;
}

TEST(SigningKey, SignsTheClientIdWithItsNulAsTheVectorsDo) {
  const SmsId id(vectors().at("smsid"));
  EXPECT_EQ(upper_hex(utf16_from_utf8(id.raw()) + std::string(2, '\0')),
            vector("ClientIDSignature.signed_bytes_hex"));
  EXPECT_EQ(*vector_key().sign_client_id(id, SignatureHash::sha256),
            vector("ClientIDSignature.signature_reversed_hex"));
}

TEST(SigningKey, SignsAClientTokenAsTheVectorsDo) {
  const std::string bytes = bytes_of_hex(vector("ClientToken.signed_bytes_hex"));
  EXPECT_EQ(utf8_from_utf16(std::string_view(bytes).substr(0, bytes.size() - 2)),
            vectors().at("smsid") + ";2026-01-15T10:20:30Z;2");
  EXPECT_EQ(*vector_key().sign(bytes, SignatureHash::sha256),
            vector("ClientToken.signature_reversed_hex"));
}

TEST(SigningKey, SignsCompressedPayloadBytesWithEitherHash) {
  const std::string bytes = bytes_of_hex(vector("PayloadSignature_zlib.signed_bytes_hex"));
  EXPECT_EQ(*vector_key().sign(bytes, SignatureHash::sha256),
            vector("PayloadSignature_zlib.signature_reversed_hex"));
  EXPECT_EQ(*vector_key().sign(bytes, SignatureHash::sha1),
            vector("PayloadSignature_zlib_sha1.signature_reversed_hex"));

  const auto plain = inflate_zlib(bytes, 1 << 20);
  ASSERT_TRUE(plain);
  EXPECT_EQ(std::to_string(plain->size()), vector("PayloadSignature_zlib.inflated_length"));
  EXPECT_EQ(utf8_from_utf16(std::string_view(*plain).substr(0, plain->size() - 4)),
            vector("PayloadSignature_zlib.body_xml"));
}

TEST(SigningKey, WritesItsPublicKeyBlobAsCryptoApiDoes) {
  EXPECT_EQ(vector_key().public_key_blob_hex(), vectors().at("public_key_blob_hex"));
}

TEST(SigningKey, SurvivesBeingStoredAndLoaded) {
  const auto made = SigningKey::generate();
  ASSERT_TRUE(made);
  const auto loaded = SigningKey::from_pkcs8_der(*made->pkcs8_der());
  ASSERT_TRUE(loaded);
  EXPECT_EQ(*made->sign("x", SignatureHash::sha256), *loaded->sign("x", SignatureHash::sha256));
  EXPECT_EQ(made->public_key_blob_hex(), loaded->public_key_blob_hex());
}

TEST(SigningKey, IsNotMadeToItsEndWhenNobodyWantsItAnyMore) {
  const std::atomic<bool> unwanted{true};
  const auto made = SigningKey::generate(&unwanted);
  ASSERT_FALSE(made);
  EXPECT_STREQ(made.error().code, "mp.key_unwanted");
  EXPECT_EQ(made.error().remedy, Remedy::halt);
  const std::atomic<bool> wanted{false};
  EXPECT_TRUE(SigningKey::generate(&wanted));
}

TEST(SigningKey, RefusesWhatIsNoRsaKeyOfItsSize) {
  const std::string whole = *vector_key().pkcs8_der();
  for (std::size_t length = 0; length < whole.size(); length += 7) {
    const auto key = SigningKey::from_pkcs8_der(std::string_view(whole).substr(0, length));
    ASSERT_FALSE(key) << length;
    EXPECT_STREQ(key.error().code, "mp.key");
  }
  EVP_PKEY* small = EVP_RSA_gen(1024);
  PKCS8_PRIV_KEY_INFO* form = EVP_PKEY2PKCS8(small);
  unsigned char* der = nullptr;
  const int length = i2d_PKCS8_PRIV_KEY_INFO(form, &der);
  const auto key =
      SigningKey::from_pkcs8_der({reinterpret_cast<char*>(der), static_cast<std::size_t>(length)});
  EXPECT_FALSE(key);
  OPENSSL_free(der);
  PKCS8_PRIV_KEY_INFO_free(form);
  EVP_PKEY_free(small);
}

TEST(SigningKey, MakesACertificateThatVerifiesAndNamesTheClientPurposes) {
  const auto der = vector_key().self_signed_certificate({}, sample_facts().made_at);
  ASSERT_TRUE(der);
  EXPECT_TRUE(certificate_matches(*der, vector_key()));
  EXPECT_FALSE(certificate_matches(*der, *SigningKey::generate()));
  EXPECT_FALSE(certificate_matches("no certificate", vector_key()));

  const auto* at = reinterpret_cast<const unsigned char*>(der->data());
  X509* certificate = d2i_X509(nullptr, &at, static_cast<long>(der->size()));
  ASSERT_NE(certificate, nullptr);
  EXPECT_EQ(X509_verify(certificate, X509_get0_pubkey(certificate)), 1);
  EXPECT_EQ(X509_get_key_usage(certificate),
            static_cast<std::uint32_t>(KU_DIGITAL_SIGNATURE | KU_DATA_ENCIPHERMENT));
  auto* purposes = static_cast<EXTENDED_KEY_USAGE*>(
      X509_get_ext_d2i(certificate, NID_ext_key_usage, nullptr, nullptr));
  ASSERT_NE(purposes, nullptr);
  std::vector<std::string> oids;
  for (int i = 0; i < sk_ASN1_OBJECT_num(purposes); ++i) {
    char text[80];
    OBJ_obj2txt(text, sizeof text, sk_ASN1_OBJECT_value(purposes, i), 1);
    oids.emplace_back(text);
  }
  EXPECT_EQ(oids, (std::vector<std::string>{"1.3.6.1.4.1.311.101.2", "1.3.6.1.4.1.311.101"}));
  int days = 0, seconds = 0;
  ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(certificate),
                 X509_get0_notAfter(certificate));
  EXPECT_EQ(days, 365);
  tm start{};
  ASN1_TIME_to_tm(X509_get0_notBefore(certificate), &start);
  EXPECT_EQ(start.tm_mday, 13);  // two days before 15 January
  EXTENDED_KEY_USAGE_free(purposes);
  X509_free(certificate);
}

// The wire form of a whole registration, byte by byte as far as bytes are free of the compressor's
// choices.
TEST(Registration, HasTheWireFormOfTheVectors) {
  MpIdentity identity = sample_identity();
  identity.sms_id = SmsId();
  ReportFacts facts = sample_facts();
  facts.message_id = "{0F0E0D0C-0B0A-4908-8706-050403020100}";
  const auto message = registration_message(sample_settings(), identity, facts);
  ASSERT_TRUE(message);
  const Opened opened = open(*message);

  EXPECT_EQ(opened.header, sample("msg-header-registration.xml"));
  EXPECT_EQ(body_text(opened), sample("registration-request.xml"));
  EXPECT_EQ(attribute(opened.header, "Body", "Length"),
            vector("wire_registration.body_length_attr"));
  EXPECT_EQ(std::to_string(opened.stream.size()), vector("wire_registration.inflated_length"));
  EXPECT_EQ(sha256_hex(opened.stream), vector("wire_registration.inflated_sha256"));
  const auto parts = parse_multipart(message->http_body, message->content_type, "");
  EXPECT_EQ(sha256_hex(parts->header), vector("wire_registration.header_part_sha256"));
  const std::string first = bytes_of_hex(vector("wire_registration.first_bytes_hex"));
  EXPECT_EQ(message->http_body.substr(0, first.size()), first);
  EXPECT_EQ(opened.payload.substr(0, 2), "\x78\x9C");

  // Their compressor at its default level in our place gives their Content-Length.
  std::string theirs(compressBound(opened.stream.size()), '\0');
  uLongf length = theirs.size();
  ASSERT_EQ(
      compress2(reinterpret_cast<Bytef*>(theirs.data()), &length,
                reinterpret_cast<const Bytef*>(opened.stream.data()), opened.stream.size(), 6),
      Z_OK);
  EXPECT_EQ(std::to_string(message->http_body.size() - opened.payload.size() + length),
            vector("wire_registration.http_content_length"));
  EXPECT_TRUE(message->expects_reply);
}

TEST(Registration, SignsExactlyTheDataItEmbeds) {
  MpIdentity identity = sample_identity();
  identity.sms_id = SmsId();
  const auto message = registration_message(sample_settings(), identity, sample_facts());
  ASSERT_TRUE(message);
  const std::string body = body_text(open(*message));
  const auto start = body.find("<Data "), end = body.find("</Data>") + 7;
  EXPECT_EQ(body.substr(start, end - start), vector("RegistrationData.xml"));
  EXPECT_EQ(inside(body, "SignatureValue"), vector("RegistrationData.signature_reversed_hex"));
}

}  // namespace
}  // namespace greengate::test

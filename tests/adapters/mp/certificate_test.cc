// Goal: an operator's key files are read or refused by name, and registrations say whose key signs and which one vouches. Method: keys made
// here, written as PEM by the library; registrations taken apart again.
#include "adapters/mp/certificate.h"

#include "adapters/mp/registration.h"
#include "tests/adapters/mp/fixture.h"

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/pem.h>

#include <memory>

namespace greengate::test {
namespace {

using namespace adapters;

const WallTime made_at = from_millis(1'768'472'430'000);

const SigningKey& key_one() {
  static const SigningKey key = SigningKey::generate().value();
  return key;
}
const SigningKey& key_two() {
  static const SigningKey key = SigningKey::generate().value();
  return key;
}
std::string certificate_of(const SigningKey& key) { return key.self_signed_certificate({}, made_at).value(); }

template <class Write>
std::string pem(Write write) {
  const std::unique_ptr<BIO, decltype(&BIO_free_all)> out(BIO_new(BIO_s_mem()), BIO_free_all);
  write(out.get());
  char* text = nullptr;
  const long length = BIO_get_mem_data(out.get(), &text);
  return std::string(text, static_cast<std::size_t>(length));
}
std::string key_pem(const SigningKey& key, const char* pass_phrase = nullptr) {
  const std::string der = key.pkcs8_der().value();
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> pkey(d2i_AutoPrivateKey(nullptr, &at, static_cast<long>(der.size())), EVP_PKEY_free);
  return pem([&](BIO* out) {
    return PEM_write_bio_PKCS8PrivateKey(out, pkey.get(), pass_phrase ? EVP_aes_256_cbc() : nullptr, pass_phrase,
                                         pass_phrase ? static_cast<int>(std::string_view(pass_phrase).size()) : 0, nullptr, nullptr);
  });
}
std::string certificate_pem(const SigningKey& key) {
  const std::string der = certificate_of(key);
  return pem([&](BIO* out) { return PEM_write_bio(out, "CERTIFICATE", "", reinterpret_cast<const unsigned char*>(der.data()), static_cast<long>(der.size())); });
}

TEST(KeyPair, IsReadFromPem) {
  const auto pair = key_pair_from_pem(key_pem(key_one()), certificate_pem(key_one()));
  ASSERT_TRUE(pair) << pair.error().message;
  EXPECT_EQ(pair->key.public_key_blob_hex(), key_one().public_key_blob_hex());
  EXPECT_TRUE(certificate_matches(pair->certificate_der, key_one()));
}

TEST(KeyPair, IsRefusedWhenAnythingIsWrongWithIt) {
  const auto refused = [](const std::string& key, const std::string& certificate) {
    const auto pair = key_pair_from_pem(key, certificate);
    return pair ? std::string("taken") : pair.error().message;
  };
  const std::string key = key_pem(key_one()), certificate = certificate_pem(key_one());
  EXPECT_EQ(refused(key, certificate_pem(key_two())), "The certificate is not that of the key.");
  EXPECT_EQ(refused("", certificate), "The key file holds no private key in PEM without a pass phrase.");
  EXPECT_EQ(refused(certificate, certificate), "The key file holds no private key in PEM without a pass phrase.");
  EXPECT_EQ(refused(key_pem(key_one(), "secret"), certificate), "The key file holds no private key in PEM without a pass phrase.");
  EXPECT_EQ(refused(key, key), "The certificate file holds no certificate in PEM.");
  EXPECT_EQ(refused(key, certificate.substr(0, certificate.size() / 2)), "The certificate file holds no certificate in PEM.");
  EXPECT_EQ(refused(std::string(2 << 20, 'x'), certificate), "The key or certificate file is longer than 1 MiB.");
}

TEST(CertificateEnds, IsWhatTheSettingsSayLessTheBackDating) {
  const auto ends = certificate_ends(certificate_of(key_one()));
  ASSERT_TRUE(ends);
  EXPECT_EQ(*ends, made_at + std::chrono::hours(24 * 363));
  const auto none = certificate_ends("no certificate");
  ASSERT_FALSE(none);
  EXPECT_STREQ(none.error().code, "mp.key");
}

std::string registration_body(const MpSettings& settings, const MpIdentity& identity, const std::string& hint = {}) {
  return body_text(open(registration_message(settings, identity, sample_facts(), hint).value()));
}

TEST(RegistrationHint, IsTheSmsidSignedByTheKeyRegisteredBeforeInsideWhatIsSigned) {
  MpSettings settings = sample_settings();
  settings.registration_hint = HintUse::always;
  const MpIdentity old = sample_identity();
  const std::string hint = registration_hint(settings, old).value();
  EXPECT_EQ(hint, old.key.sign_client_id(old.sms_id, settings.hash).value());
  MpIdentity next = old;
  next.key = key_one();
  next.certificate_der = certificate_of(key_one());
  const std::string body = registration_body(settings, next, hint);
  const auto start = body.find("<Data "), end = body.find("</Data>") + 7;
  EXPECT_EQ(inside(body.substr(start, end - start), "RegistrationHint"), hint);
}

TEST(RegistrationHint, GoesOnlyWhereTheSettingsWantIt) {
  MpSettings settings = sample_settings();
  const MpIdentity identity = sample_identity();
  EXPECT_EQ(registration_hint(settings, identity).value(), "") << "self-signed";
  settings.key_type = 2;
  EXPECT_NE(registration_hint(settings, identity).value(), "");
  settings.registration_hint = HintUse::never;
  EXPECT_EQ(registration_hint(settings, identity).value(), "");
  EXPECT_EQ(registration_body(settings, identity).find("RegistrationHint"), std::string::npos);
}

TEST(IsvProxy, RegistersItsClientsAsTypeEightInItsOwnName) {
  MpIdentity identity = sample_identity();
  EXPECT_EQ(attribute(registration_body(sample_settings(), identity), "AgentInformation", "AgentType"), "0");
  identity.proxy_sms_id = SmsId("GUID:5A1B7C3D-0000-4000-8000-00000000B001");
  const std::string body = registration_body(sample_settings(), identity);
  EXPECT_EQ(attribute(body, "AgentInformation", "AgentType"), "8");
  EXPECT_EQ(attribute(body, "Signature", "SMSID"), identity.proxy_sms_id.raw());
  EXPECT_EQ(attribute(body, "Data", "SMSID"), identity.sms_id.raw());
}

}  // namespace
}  // namespace greengate::test

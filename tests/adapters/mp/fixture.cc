#include "tests/adapters/mp/fixture.h"

#include "adapters/mp/multipart.h"
#include "adapters/mp/utf16.h"

#include <gtest/gtest.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>
#include <zlib.h>
#include <boost/json.hpp>

#include <fstream>
#include <sstream>

namespace greengate::test {
namespace {

void flatten(const boost::json::value& value, const std::string& path,
             std::map<std::string, std::string>& into) {
  if (const auto* object = value.if_object()) {
    for (const auto& [key, child] : *object)
      flatten(child, path.empty() ? std::string(key) : path + "." + std::string(key), into);
  } else if (value.is_string()) {
    into[path] = std::string(value.as_string());
  } else {
    into[path] = boost::json::serialize(value);
  }
}

WallTime at(int year, unsigned month, unsigned day, int hour, int minute, int second) {
  using namespace std::chrono;
  return sys_days(year_month_day(std::chrono::year(year), std::chrono::month(month),
                                 std::chrono::day(day))) +
         hours(hour) + minutes(minute) + seconds(second);
}

}  // namespace

std::string sample(const std::string& name) {
  std::ifstream file(std::string(GREENGATE_SOURCE_DIR) + "/tests/data/mp/" + name,
                     std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

const std::map<std::string, std::string>& vectors() {
  static const auto all = [] {
    std::map<std::string, std::string> flat;
    flatten(boost::json::parse(sample("sign-vectors.json")), "", flat);
    return flat;
  }();
  return all;
}

std::string bytes_of_hex(std::string_view hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return out;
}

adapters::SigningKey vector_key() {
  static const adapters::SigningKey key = [] {
    BN_CTX* c = BN_CTX_new();
    BIGNUM *n = nullptr, *e = BN_new(), *d = nullptr;
    BN_hex2bn(&n, vectors().at("rsa.n_hex").c_str());
    BN_set_word(e, 65537);
    BN_hex2bn(&d, vectors().at("rsa.d_hex").c_str());
    // e·d - 1 = 2^t · r; some g^(2^i · r) is a root of 1 other than ±1, and gcd(root - 1, n) a
    // factor.
    BIGNUM *r = BN_new(), *g = BN_new(), *x = BN_new(), *y = BN_new(), *p = BN_new(), *q = BN_new();
    BIGNUM* n_minus_1 = BN_dup(n);
    BN_sub_word(n_minus_1, 1);
    BN_mul(r, e, d, c);
    BN_sub_word(r, 1);
    int t = 0;
    for (; !BN_is_odd(r); ++t) BN_rshift1(r, r);
    bool found = false;
    for (unsigned base = 2; !found; ++base) {
      BN_set_word(g, base);
      BN_mod_exp(x, g, r, n, c);
      for (int i = 0; i < t && !found; ++i) {
        BN_mod_sqr(y, x, n, c);
        if (BN_is_one(y) && !BN_is_one(x) && BN_cmp(x, n_minus_1) != 0) {
          BN_sub_word(x, 1);
          BN_gcd(p, x, n, c);
          found = true;
        }
        std::swap(x, y);
      }
    }
    BN_div(q, nullptr, n, p, c);
    if (BN_cmp(p, q) < 0) std::swap(p, q);
    BIGNUM *dp = BN_new(), *dq = BN_new(), *qi = BN_new(), *less = BN_new();
    BN_sub(less, p, BN_value_one());
    BN_mod(dp, d, less, c);
    BN_sub(less, q, BN_value_one());
    BN_mod(dq, d, less, c);
    BN_mod_inverse(qi, q, p, c);

    OSSL_PARAM_BLD* build = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_D, d);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_FACTOR1, p);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_FACTOR2, q);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_EXPONENT1, dp);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_EXPONENT2, dq);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, qi);
    OSSL_PARAM* params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr);
    EVP_PKEY* pkey = nullptr;
    EVP_PKEY_fromdata_init(context);
    EXPECT_EQ(EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_KEYPAIR, params), 1);
    PKCS8_PRIV_KEY_INFO* form = EVP_PKEY2PKCS8(pkey);
    unsigned char* der = nullptr;
    const int length = i2d_PKCS8_PRIV_KEY_INFO(form, &der);
    auto made = adapters::SigningKey::from_pkcs8_der(
        {reinterpret_cast<char*>(der), static_cast<std::size_t>(length)});
    EXPECT_TRUE(made) << (made ? "" : made.error().message);
    OPENSSL_free(der);
    PKCS8_PRIV_KEY_INFO_free(form);
    EVP_PKEY_free(pkey);
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    for (BIGNUM* each : {n, e, d, r, g, x, y, p, q, n_minus_1, dp, dq, qi, less}) BN_free(each);
    BN_CTX_free(c);
    return made ? *made : adapters::SigningKey();
  }();
  return key;
}

adapters::MpIdentity sample_identity() {
  adapters::MpIdentity identity;
  identity.sms_id = SmsId(vectors().at("smsid"));
  identity.key = vector_key();
  identity.certificate_der = bytes_of_hex(vectors().at("certificate_der_hex"));
  identity.netbios_name = "LNX-A001";
  identity.fqdn = "lnx-a001.example.test";
  return identity;
}

adapters::MpSettings sample_settings() {
  adapters::MpSettings settings;
  settings.site_code = "P01";
  settings.target_host = "mp01.example.test";
  settings.agent_identity = "InteropGateway";
  settings.platform_id = "Linux";
  return settings;
}

adapters::ReportFacts sample_facts() {
  adapters::ReportFacts facts;
  facts.made_at = at(2026, 1, 15, 10, 20, 30);
  facts.inventory_policy_date = at(2026, 1, 10, 0, 0, 0);
  facts.message_id = "{11111111-2222-4333-8444-555555555555}";
  return facts;
}

Opened open(const adapters::OutgoingMessage& message) {
  Opened opened;
  const auto parts = adapters::parse_multipart(message.http_body, message.content_type, "");
  EXPECT_TRUE(parts) << (parts ? "" : parts.error().message);
  if (!parts) return opened;
  EXPECT_EQ(parts->header.substr(0, 2), "\xFF\xFE");
  opened.header = adapters::utf8_from_utf16(parts->header);
  opened.payload = std::string(parts->payload);
  uLongf length = 8u << 20;
  opened.stream.resize(length);
  EXPECT_EQ(
      uncompress(reinterpret_cast<Bytef*>(opened.stream.data()), &length,
                 reinterpret_cast<const Bytef*>(opened.payload.data()), opened.payload.size()),
      Z_OK);
  opened.stream.resize(length);
  return opened;
}

std::string body_text(const Opened& opened) {
  const std::size_t offset = std::stoul(attribute(opened.header, "Body", "Offset"));
  const std::size_t length = std::stoul(attribute(opened.header, "Body", "Length"));
  EXPECT_LE(offset + length, opened.stream.size());
  EXPECT_EQ(opened.stream.substr(offset + length - 2, 2), std::string(2, '\0'));
  return adapters::utf8_from_utf16(std::string_view(opened.stream).substr(offset, length - 2));
}

std::string attribute(std::string_view xml, const std::string& element, const std::string& name) {
  const auto tag = xml.find("<" + element + " ");
  if (tag == std::string_view::npos) return {};
  const std::string_view inside_tag = xml.substr(tag, xml.find('>', tag) - tag);
  const auto start = inside_tag.find(" " + name + "=\"");
  if (start == std::string_view::npos) return {};
  const auto value = start + name.size() + 3;
  return std::string(inside_tag.substr(value, inside_tag.find('"', value) - value));
}

std::string inside(std::string_view xml, const std::string& element) {
  const auto start = xml.find("<" + element + ">");
  const auto end = xml.find("</" + element + ">", start);
  if (start == std::string_view::npos || end == std::string_view::npos) return {};
  return std::string(xml.substr(start + element.size() + 2, end - start - element.size() - 2));
}

}  // namespace greengate::test

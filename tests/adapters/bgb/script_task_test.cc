// Goal: a TaskParam of a script task is read as the specification's samples have it, its hashes are checked, and what is hostile is refused
// with the code that says why. Method: the samples byte for byte, and small changes to them.
#include "adapters/bgb/script_task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <fstream>
#include <iterator>

namespace greengate::test {
namespace {

using adapters::bgb::parse_script_task;
using adapters::bgb::ParametersHash;
using adapters::bgb::ScriptTask;

std::string sample(const std::string& name) {
  std::ifstream file(GREENGATE_SOURCE_DIR "/tests/data/bgb/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string base64(const std::string& bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

Result<ScriptTask> parse(const std::string& xml, ParametersHash check = ParametersHash::strict) {
  return parse_script_task(base64(xml), check);
}

std::string code_of(const Result<ScriptTask>& result) { return result ? "" : result.error().code; }

std::string with(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

// Of ASCII alone, so that this needs no converter of its own.
std::string hash_of_ascii(const std::string& text) {
  std::string wide;
  for (const char c : text) wide.append(1, c).append(1, '\0');
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(wide.data()), wide.size(), digest);
  std::string hex;
  for (const unsigned char byte : digest) {
    char pair[3];
    std::snprintf(pair, sizeof pair, "%02x", byte);
    hex += pair;
  }
  return hex;
}

// A task whose ScriptParameters element is `sent`, and whose hash is over `hashed`.
std::string task_with(const std::string& sent, const std::string& hashed) {
  return with(with(sample("09-taskparam-script-decoded.xml"), "<ScriptParameters></ScriptParameters>", sent),
              "ParameterHashAlg='SHA256'>", "ParameterHashAlg='SHA256'>" + hash_of_ascii(hashed));
}

const std::string one_double = R"(<ScriptParameters><ScriptParameter ParameterGroupGuid="G" ParameterName="Path" ParameterValue="/var &amp; x"/></ScriptParameters>)";
const std::string one_single = R"(<ScriptParameters><ScriptParameter ParameterGroupGuid='G' ParameterName='Path' ParameterValue='/var &amp; x'/></ScriptParameters>)";

TEST(ScriptTask, ReadsTheSampleOfAScriptAsThePushCarriesIt) {
  const std::string request = sample("05-request-run-script.xml");
  const auto begin = request.find("<TaskParam>") + 11;
  const auto task = parse_script_task(request.substr(begin, request.find("</TaskParam>") - begin), ParametersHash::strict);
  ASSERT_TRUE(task) << task.error().message;
  EXPECT_EQ(task->guid, "3F0E9A54-2D61-4C77-9B18-6E5D4C3B2A19");
  EXPECT_EQ(task->version, "1");
  EXPECT_EQ(task->type, 0u);
  EXPECT_EQ(task->hash, "e2d7550e8c36f89af671fb4465413998cf5d5277e1d45ccf1cdc7ae3e73f9979");
  EXPECT_TRUE(task->parameters.empty());
  EXPECT_FALSE(task->cmpivot);
  EXPECT_TRUE(task->parameters_hash_right);
  EXPECT_EQ(base64(sample("09-taskparam-script-decoded.xml")), request.substr(begin, request.find("</TaskParam>") - begin));
}

// The hash of the script in the sample is that of FF FE and the script's text in UTF-16LE: what an operator computes for an allow-list.
TEST(ScriptTask, ScriptHashOfTheSampleIsThatOfTheScriptsBytesAsStored) {
  std::string wide = "\xFF\xFE";
  for (const char c : std::string("Get-Date -Format o\r\n")) wide.append(1, c).append(1, '\0');
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(wide.data()), wide.size(), digest);
  const auto task = parse(sample("09-taskparam-script-decoded.xml"));
  ASSERT_TRUE(task);
  for (std::size_t i = 0; i < sizeof digest; ++i) EXPECT_EQ(std::stoi(task->hash.substr(i * 2, 2), nullptr, 16), digest[i]);
}

TEST(ScriptTask, ReadsTheSampleOfACmPivotQueryAndDecodesItsParameters) {
  const auto task = parse(sample("10-taskparam-cmpivot-decoded.xml"));
  ASSERT_TRUE(task) << task.error().message;
  EXPECT_TRUE(task->cmpivot);
  ASSERT_EQ(task->parameters.size(), 3u);
  EXPECT_EQ(task->parameters[0].name, "kustoquery");
  EXPECT_EQ(task->parameters[0].value, "E(0)");
  EXPECT_EQ(task->parameters[1].name, "select");
  EXPECT_EQ(task->parameters[1].value, "Name:String,Version:String");
  EXPECT_EQ(task->parameters[2].name, "wmiquery");
  EXPECT_EQ(task->parameters[2].value, "OS | project Name, Version");
}

TEST(ScriptTask, ChangedParameterIsRefusedUnlessTheCheckIsLoose) {
  const std::string changed = with(sample("10-taskparam-cmpivot-decoded.xml"), "E:RSgwKQ==", "E:RSgxKQ==");
  EXPECT_EQ(code_of(parse(changed)), "bgb.script_parameters_hash");
  const auto loose = parse(changed, ParametersHash::loose);
  ASSERT_TRUE(loose);
  EXPECT_FALSE(loose->parameters_hash_right);
  EXPECT_EQ(loose->parameters[0].value, "E(1)");
}

TEST(ScriptTask, HashIsThatOfTheDoubleQuotedFormWhicheverQuotesTheWriterUsed) {
  for (const std::string& sent : {one_double, one_single}) {
    const auto task = parse(task_with(sent, one_double));
    ASSERT_TRUE(task) << task.error().message;
    ASSERT_EQ(task->parameters.size(), 1u);
    EXPECT_EQ(task->parameters[0].value, "/var & x");
  }
  EXPECT_EQ(code_of(parse(task_with(one_single, one_single))), "bgb.script_parameters_hash");
}

TEST(ScriptTask, DoubleQuoteInsideSingleQuotesIsEscapedBeforeHashing) {
  const std::string sent = R"(<ScriptParameters><ScriptParameter ParameterName='A' ParameterValue='say "x"'/></ScriptParameters>)";
  const std::string hashed = R"(<ScriptParameters><ScriptParameter ParameterName="A" ParameterValue="say &quot;x&quot;"/></ScriptParameters>)";
  const auto task = parse(task_with(sent, hashed));
  ASSERT_TRUE(task) << task.error().message;
  EXPECT_EQ(task->parameters[0].value, "say \"x\"");
}

TEST(ScriptTask, HashOfAReaderThatWritesASpaceBeforeTheSlashIsTakenToo) {
  EXPECT_TRUE(parse(task_with(one_single, with(one_double, "\"/>", "\" />"))));
}

TEST(ScriptTask, ParametersWithoutHashAreRefusedAndAHashWithoutParametersToo) {
  const std::string none = with(sample("09-taskparam-script-decoded.xml"), "<ScriptParameters></ScriptParameters>", one_double);
  EXPECT_EQ(code_of(parse(none)), "bgb.script_parameters_hash");
  EXPECT_EQ(code_of(parse(task_with("<ScriptParameters></ScriptParameters>", one_double))), "bgb.script_parameters_hash");
}

TEST(ScriptTask, ElementWithoutParametersMayCloseItself) {
  EXPECT_TRUE(parse(with(sample("09-taskparam-script-decoded.xml"), "<ScriptParameters></ScriptParameters>", "<ScriptParameters/>")));
}

TEST(ScriptTask, MembersComeInAnyOrderAndUnknownOnesArePassedOver) {
  const auto task = parse(
      "<ScriptContent Later=\"1\" ScriptGuid=\"3f0e9a54-2d61-4c77-9b18-6e5d4c3b2a19\">\n<ParameterGroupHash ParameterHashAlg=\"SHA256\"/>"
      "<ScriptParameters/><New><Deep a='1'>x</Deep></New><ScriptHash ScriptHashAlg=\"SHA256\">"
      "E2D7550E8C36F89AF671FB4465413998CF5D5277E1D45CCF1CDC7AE3E73F9979</ScriptHash><ScriptType>0</ScriptType>"
      "<ScriptVersion>7</ScriptVersion></ScriptContent>\n");
  ASSERT_TRUE(task) << task.error().message;
  EXPECT_EQ(task->guid, "3F0E9A54-2D61-4C77-9B18-6E5D4C3B2A19");
  EXPECT_EQ(task->version, "7");
}

TEST(ScriptTask, OlderFormIsKnownAndRefusedByItsOwnCode) {
  EXPECT_EQ(code_of(parse("<ScriptHash ScriptHashAlg='SHA256'>00</ScriptHash><ScriptVersion>1</ScriptVersion>")), "bgb.script_older_form");
}

TEST(ScriptTask, EachWrongMemberHasItsCode) {
  const std::string good = sample("09-taskparam-script-decoded.xml");
  const struct {
    const char *from, *to, *code;
  } cases[] = {
      {"3F0E9A54-2D61", "3F0E9A54_2D61", "bgb.script_guid"},
      {"'3F0E9A54-2D61-4C77-9B18-6E5D4C3B2A19'", "'{3F0E9A54-2D61-4C77-9B18-6E5D4C3B2A19}'", "bgb.script_guid"},
      {" ScriptGuid='3F0E9A54-2D61-4C77-9B18-6E5D4C3B2A19'", "", "bgb.script_member"},
      {"<ScriptVersion>1</ScriptVersion>", "", "bgb.script_member"},
      {"<ScriptVersion>1</ScriptVersion>", "<ScriptVersion>1</ScriptVersion><ScriptVersion>1</ScriptVersion>", "bgb.script_member"},
      {"<ScriptType>0<", "<ScriptType>-1<", "bgb.script_member"},
      {"<ScriptType>0<", "<ScriptType>4294967296<", "bgb.script_member"},
      {"E2D7550E", "G2D7550E", "bgb.script_hash"},
      {"E2D7550E", "2D7550E", "bgb.script_hash"},
      {"ScriptHashAlg='SHA256'", "ScriptHashAlg='SHA1'", "bgb.script_hash"},
      {"ScriptHashAlg='SHA256'", "", "bgb.script_hash"},
      {"ParameterHashAlg='SHA256'", "ParameterHashAlg='MD5'", "bgb.script_parameters_hash"},
      {"<ScriptParameters></ScriptParameters>", "", "bgb.script_member"},
      {"<ScriptParameters></ScriptParameters>", "<ScriptParameters><Other/></ScriptParameters>", "bgb.script_parameter"},
      {"<ScriptParameters></ScriptParameters>", "<ScriptParameters>x</ScriptParameters>", "bgb.script_malformed"},
      {"<ScriptParameters></ScriptParameters>", "<ScriptParameters/><ScriptParameters/>", "bgb.script_member"},
      {"<ScriptContent ", "<Content ", "bgb.script_malformed"},
      {"</ScriptContent>", "", "bgb.script_malformed"},
      {"</ScriptContent>", "</ScriptContent><x/>", "bgb.script_malformed"},
      {"<ScriptType>0<", "<ScriptType>&lol;<", "bgb.script_forbidden"},
      {"<ScriptType>0<", "<ScriptType>&#48;<", "bgb.script_forbidden"},
      {"<ScriptContent ", "<!DOCTYPE a [<!ENTITY b 'c'>]><ScriptContent ", "bgb.script_forbidden"},
      {"<ScriptType>", "<!-- x --><ScriptType>", "bgb.script_forbidden"},
      {"<ScriptType>0<", "<ScriptType><![CDATA[0]]><", "bgb.script_forbidden"},
      {"<ScriptType>", "<?x y?><ScriptType>", "bgb.script_forbidden"},
      {"<ScriptType>0<", "<ScriptType>\x01<", "bgb.script_malformed"},
      {"<ScriptType>0<", "<ScriptType>\xC0\xAF<", "bgb.script_text"},
      {"<ScriptType>", "<a><b><c><d/></c></b></a><ScriptType>", "bgb.script_limit"},
  };
  for (const auto& [from, to, code] : cases) EXPECT_EQ(code_of(parse(with(good, from, to))), code) << from << " → " << to;
}

TEST(ScriptTask, ParametersMustBeNamedAndDiffer) {
  const auto code = [](const std::string& inner) {
    const std::string all = "<ScriptParameters>" + inner + "</ScriptParameters>";
    return code_of(parse(task_with(all, all)));
  };
  EXPECT_EQ(code(R"(<ScriptParameter ParameterName="a" ParameterValue="1"/>)"), "");
  EXPECT_EQ(code(R"(<ScriptParameter ParameterName="a" ParameterValue=""/>)"), "");
  EXPECT_EQ(code(R"(<ScriptParameter ParameterValue="1"/>)"), "bgb.script_parameter");
  EXPECT_EQ(code(R"(<ScriptParameter ParameterName="a"/>)"), "bgb.script_parameter");
  EXPECT_EQ(code(R"(<ScriptParameter ParameterName="" ParameterValue="1"/>)"), "bgb.script_parameter");
  EXPECT_EQ(code(R"(<ScriptParameter ParameterName="a" ParameterValue="1"/><ScriptParameter ParameterName="A" ParameterValue="2"/>)"), "bgb.script_parameter");
  EXPECT_EQ(code(R"(<ScriptParameter ParameterName="a" ParameterName="b" ParameterValue="2"/>)"), "bgb.script_malformed");
  EXPECT_EQ(code(R"(<ScriptParameter ParameterName="a" ParameterValue="1"><x/></ScriptParameter>)"), "bgb.script_parameter");
  EXPECT_EQ(code("<ScriptParameter ParameterName=\"" + std::string(129, 'a') + "\" ParameterValue=\"1\"/>"), "bgb.script_parameter");
}

TEST(ScriptTask, BoundsHold) {
  EXPECT_EQ(code_of(parse_script_task("", ParametersHash::strict)), "bgb.script_empty");
  EXPECT_EQ(code_of(parse_script_task(" \n", ParametersHash::strict)), "bgb.script_empty");
  EXPECT_EQ(code_of(parse_script_task(std::string(256 * 1024 + 1, 'A'), ParametersHash::strict)), "bgb.script_too_large");
  EXPECT_EQ(code_of(parse_script_task(std::string(256 * 1024, 'A'), ParametersHash::strict)), "bgb.script_malformed");
  for (const char* bad : {"A", "AA=A", "A===", "====", "AAA\n", "AA==AAAA", "AB==", "AAB=", "\xC3\xA9_-"})
    EXPECT_EQ(code_of(parse_script_task(bad, ParametersHash::strict)), "bgb.script_base64") << bad;
  std::string many;
  for (int i = 0; i < 65; ++i) many += "<ScriptParameter ParameterName=\"p" + std::to_string(i) + "\" ParameterValue=\"\"/>";
  many = "<ScriptParameters>" + many + "</ScriptParameters>";
  EXPECT_EQ(code_of(parse(task_with(many, many))), "bgb.script_limit");
  std::string members;
  for (int i = 0; i < 1'100; ++i) members += "<x/>";
  EXPECT_EQ(code_of(parse(with(sample("09-taskparam-script-decoded.xml"), "<ScriptType>", members + "<ScriptType>"))), "bgb.script_limit");
  const std::string large = "<ScriptParameters><ScriptParameter ParameterName=\"a\" ParameterValue=\"" + std::string(64 * 1024 + 1, 'x') + "\"/></ScriptParameters>";
  EXPECT_EQ(code_of(parse(task_with(large, large))), "bgb.script_limit");
}

TEST(ScriptTask, QueryWhoseParametersAreNotEncodedIsRefused) {
  for (const char* bad : {"E:RSgwKQ=", "RSgwKQ==", "E:/w==", "E:AA=="}) {
    EXPECT_EQ(code_of(parse(with(sample("10-taskparam-cmpivot-decoded.xml"), "E:RSgwKQ==", bad), ParametersHash::loose)), "bgb.script_query") << bad;
  }
}

TEST(ScriptTask, CutAnywhereIsRefusedAndNeverRead) {
  const std::string whole = sample("10-taskparam-cmpivot-decoded.xml");
  for (std::size_t length = 0; length < whole.size(); ++length) EXPECT_FALSE(parse(whole.substr(0, length))) << length;
}

}  // namespace
}  // namespace greengate::test

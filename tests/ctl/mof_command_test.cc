// Goal: a class's shape is found in every document an operator may have. Method: each of them, and what is none.
#include "ctl/mof_command.h"

#include <gtest/gtest.h>

namespace greengate::ctl {
namespace {

const std::string shape = R"({"class": "Contoso_Asset", "namespace": "root\\cimv2", "keys": ["Tag"], "properties": {"Tag": "string", "Seats": "integer"}})";

std::string code_of(const std::string& text) {
  const auto read = shape_from_json(text, "Contoso_Asset");
  return read ? "fine" : std::string(read.error().code);
}

TEST(ShapeFromJson, IsFoundWhereverItStands) {
  for (const std::string& text : {shape, R"({"classes": {}, "shapes": {"Other": {"class": "Other"}, "Contoso_Asset": )" + shape + "}}",
                                  R"({"class": "Contoso_Other", "keys": []})" + std::string("\n") + shape}) {
    const auto read = shape_from_json(text, "contoso_asset");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->name, "Contoso_Asset");
    EXPECT_EQ(read->name_space, "root\\cimv2");
    EXPECT_EQ(read->keys, std::vector<std::string>{"Tag"});
    ASSERT_EQ(read->properties.size(), 2u);
    EXPECT_EQ(read->properties[1], (std::pair<std::string, std::string>{"Seats", "integer"}));
    EXPECT_TRUE(adapters::mof_text(*read));
  }
}

TEST(ShapeFromJson, AnUndeclaredKeyIsAText) {
  const auto read = shape_from_json(R"({"class": "A_B", "keys": ["Id"], "properties": {"Size": "integer"}, "instances": []})", "A_B");
  ASSERT_TRUE(read);
  ASSERT_EQ(read->properties.size(), 2u);
  EXPECT_EQ(read->properties[0], (std::pair<std::string, std::string>{"Id", "string"}));
}

TEST(ShapeFromJson, NamesWhatIsMissing) {
  EXPECT_EQ(code_of(""), "mof.json");
  EXPECT_EQ(code_of("text"), "mof.json");
  EXPECT_EQ(code_of(std::string(100, '[')), "mof.json");
  EXPECT_EQ(code_of("[]"), "mof.class_absent");
  EXPECT_EQ(code_of(R"({"shapes": {}})"), "mof.class_absent");
  EXPECT_EQ(code_of(R"({"class": "Contoso_Asset"})"), "mof.shape");
  EXPECT_EQ(code_of(R"({"class": "Contoso_Asset", "keys": ["Tag"]})"), "mof.shape");
  EXPECT_EQ(code_of(R"({"class": "Contoso_Asset", "keys": ["Tag"], "properties": ["Tag"]})"), "mof.shape");
  EXPECT_EQ(code_of(R"({"class": "Contoso_Asset", "keys": [1], "properties": {}})"), "mof.shape");
  EXPECT_EQ(code_of(R"({"class": "Contoso_Asset", "keys": ["Tag"], "properties": {"Tag": 1}})"), "mof.shape");
}

TEST(ContentOf, SaysWhenThereIsNoFile) {
  const auto text = content_of("/no/such/file");
  ASSERT_FALSE(text);
  EXPECT_STREQ(text.error().code, "mof.file");
}

}  // namespace
}  // namespace greengate::ctl

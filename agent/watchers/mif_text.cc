#include "agent/watchers/mif_text.h"

#include "agent/collectors/text.h"

#include <algorithm>
#include <set>
#include <vector>

namespace greengate::agent {
namespace {

constexpr std::size_t groups_max = 1'000, attributes_max = 10'000, statements_max = 65'536, text_bytes_max = 32 << 10;

tl::unexpected<Error> wrong(const char* code, std::size_t line, const std::string& what) {
  return fail(Remedy::reject, code, "Line " + std::to_string(line) + ": " + what);
}

std::string shown(std::string_view text) {
  return "\"" + clean_text(text, 60) + "\"";
}

bool same(std::string_view a, std::string_view b) {
  return upper(a) == upper(b);
}

struct Token {
  enum class Kind { end, word, number, text, mark };
  Kind kind = Kind::end;
  std::string value;  // of a text without its quotes
  std::size_t line = 0;
};

class Words {
 public:
  explicit Words(std::string_view text) : text_(text) {}

  Result<Token> next() {
    skip();
    Token token;
    token.line = line_;
    if (at_ == text_.size()) return token;
    const char c = text_[at_];
    if (c == '"') return quoted();
    if (std::string_view("=,(){}*").find(c) != std::string_view::npos) {
      ++at_;
      token.kind = Token::Kind::mark;
      token.value = c;
      return token;
    }
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    if (at_ == begin) return wrong("mif.syntax", line_, "A MIF file has no place for " + shown(text_.substr(at_, 1)) + ".");
    token.value = std::string(text_.substr(begin, at_ - begin));
    const std::string_view digits = std::string_view(token.value).substr(token.value[0] == '-' || token.value[0] == '+' ? 1 : 0);
    const bool hexadecimal = digits.size() > 2 && digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
    token.kind = !digits.empty() && digits[0] >= '0' && digits[0] <= '9' ? Token::Kind::number : Token::Kind::word;
    if (token.kind == Token::Kind::number && !(hexadecimal ? to_number_hex(digits) : to_number(digits)))
      return wrong("mif.syntax", line_, shown(token.value) + " is no number.");
    if (token.value.size() > 256) return wrong("mif.syntax", line_, "A word is longer than 256 characters.");
    return token;
  }

 private:
  static bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '+' || c == '_' || c == '.';
  }
  void skip() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '\n') ++line_;
      if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f') {
        ++at_;
      } else if (text_.substr(at_, 2) == "//") {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else {
        return;
      }
    }
  }
  // Texts that follow each other are one text.
  Result<Token> quoted() {
    Token token;
    token.kind = Token::Kind::text;
    token.line = line_;
    while (at_ < text_.size() && text_[at_] == '"') {
      const std::size_t begun = line_;
      ++at_;
      for (;; ++at_) {
        if (at_ == text_.size() || text_[at_] == '\n') return wrong("mif.syntax", begun, "A text has no closing quote on its line.");
        if (text_[at_] == '"') break;
        if (text_[at_] == '\\' && at_ + 1 < text_.size() && text_[at_ + 1] != '\n') ++at_;
        if (token.value.size() >= text_bytes_max) return wrong("mif.syntax", begun, "A text is longer than 32 KiB.");
        token.value += text_[at_];
      }
      ++at_;
      skip();
    }
    return token;
  }

  std::string_view text_;
  std::size_t at_ = 0, line_ = 1;
};

struct Block {
  std::string name;  // "COMPONENT", "GROUP", …
  std::size_t line = 0;
  std::set<std::string> said;  // statements, upper case
  std::set<std::string> ids;   // of the attributes inside
  std::string id;
  std::vector<std::string> keys;
};

/// One statement after the other against the block it stands in.
class Checker {
 public:
  Checker(std::string_view text, bool header) : words_(text), header_(header) {}

  Result<void> whole(MifFacts& facts) {
    if (auto first = advance(); !first) return first;
    while (token_.kind != Token::Kind::end) {
      if (++statements_ > statements_max) return wrong("mif.too_many", token_.line, "It has more than 65,536 statements.");
      if (auto done = statement(facts); !done) return done;
    }
    if (!open_.empty())
      return wrong("mif.syntax", open_.back().line, "Start " + open_.back().name + " has no End " + open_.back().name + ".");
    if (!closed_) return wrong("mif.syntax", token_.line, "There is no component: it begins with Start Component.");
    if (facts.groups == 0) return wrong("mif.syntax", token_.line, "The component has no group.");
    if (header_ && !top_level_)
      return wrong("mif.header", 1, "No group has the class " + shown(facts.architecture) + " of its //Architecture<…>.");
    return {};
  }

 private:
  Result<void> advance() {
    auto read = words_.next();
    if (!read) return pass(read);
    token_ = std::move(*read);
    return {};
  }
  Result<void> expect(char mark) {
    if (token_.kind != Token::Kind::mark || token_.value[0] != mark)
      return wrong("mif.syntax", token_.line, std::string("Here should be ") + mark + ", not " + shown(token_.value) + ".");
    return advance();
  }

  Result<void> statement(MifFacts& facts) {
    if (token_.kind == Token::Kind::mark && token_.value == "{" && !open_.empty() && open_.back().name == "TABLE") return row();
    if (token_.kind == Token::Kind::number && !open_.empty() && open_.back().name == "ENUM") return enumerated();
    if (token_.kind != Token::Kind::word)
      return wrong("mif.syntax", token_.line, "A statement begins with a word, not with " + shown(token_.value) + ".");
    const Token word = token_;
    if (auto moved = advance(); !moved) return moved;
    if (same(word.value, "Start")) return start(word.line, facts);
    if (same(word.value, "End")) return end(word.line, facts);
    return assign(word, facts);
  }

  static bool may_hold(std::string_view outer, std::string_view inner) {
    if (outer.empty()) return inner == "COMPONENT";
    if (outer == "COMPONENT") return inner == "GROUP" || inner == "TABLE" || inner == "ENUM" || inner == "PATH";
    if (outer == "GROUP") return inner == "ATTRIBUTE";
    return outer == "ATTRIBUTE" && inner == "ENUM";
  }

  Result<void> start(std::size_t line, MifFacts& facts) {
    const std::string name = upper(token_.value);
    const std::string outer = open_.empty() ? "" : open_.back().name;
    if (token_.kind != Token::Kind::word || !may_hold(outer, name) || (outer.empty() && closed_)) {
      return wrong("mif.syntax", line, "Start " + shown(token_.value) + " has no place " +
                                           (outer.empty() ? std::string("outside of the one component.") : "in a " + outer + "."));
    }
    if (name == "GROUP" || name == "TABLE") {
      if (++facts.groups > groups_max) return wrong("mif.too_many", line, "It has more than 1,000 groups and tables.");
    }
    if (name == "ATTRIBUTE" && ++facts.attributes > attributes_max) return wrong("mif.too_many", line, "It has more than 10,000 attributes.");
    Block block;
    block.name = name;
    block.line = line;
    open_.push_back(std::move(block));
    return advance();
  }

  Result<void> end(std::size_t line, MifFacts&) {
    if (open_.empty() || token_.kind != Token::Kind::word || upper(token_.value) != open_.back().name) {
      return wrong("mif.syntax", line, "End " + shown(token_.value) + " ends nothing; " +
                                           (open_.empty() ? std::string("nothing is open.") : "the " + open_.back().name + " of line " + std::to_string(open_.back().line) + " is open."));
    }
    const Block block = std::move(open_.back());
    open_.pop_back();
    const auto needs = [&](const char* what) -> Result<void> {
      if (block.said.contains(upper(what))) return {};
      return wrong("mif.syntax", block.line, "The " + block.name + " has no " + what + ".");
    };
    Result<void> whole;
    if (block.name == "COMPONENT") {
      whole = needs("Name");
      closed_ = true;
    } else if (block.name == "GROUP") {
      whole = needs("Name");
      if (whole) whole = needs("Class");
      if (whole && block.ids.empty()) whole = wrong("mif.syntax", block.line, "The GROUP has no attribute.");
      for (const std::string& key : block.keys) {
        if (whole && !block.ids.contains(key)) whole = wrong("mif.syntax", block.line, "The GROUP's key " + key + " is the ID of none of its attributes.");
      }
    } else if (block.name == "TABLE") {
      for (const char* what : {"Name", "ID", "Class"}) {
        if (whole) whole = needs(what);
      }
    } else if (block.name == "ATTRIBUTE") {
      for (const char* what : {"Name", "ID", "Type"}) {
        if (whole) whole = needs(what);
      }
      if (whole && !open_.back().ids.insert(block.id).second)
        whole = wrong("mif.syntax", block.line, "Another attribute of its group has ID " + block.id + " too.");
    } else if (block.name == "ENUM" && !open_.empty() && open_.back().name == "ATTRIBUTE") {
      open_.back().said.insert("TYPE");
    }
    if (!whole) return whole;
    return advance();
  }

  Result<void> enumerated() {
    if (auto moved = advance(); !moved) return moved;
    if (auto equals = expect('='); !equals) return equals;
    if (token_.kind != Token::Kind::text) return wrong("mif.syntax", token_.line, "An enumeration's values are texts.");
    return advance();
  }

  Result<void> row() {
    for (;;) {
      if (auto moved = advance(); !moved) return moved;
      if (token_.kind == Token::Kind::end) return wrong("mif.syntax", token_.line, "A table's row has no closing brace.");
      if (token_.kind == Token::Kind::mark && token_.value == "}") return advance();
      if (token_.kind == Token::Kind::mark && token_.value != "," && token_.value != "*")
        return wrong("mif.syntax", token_.line, shown(token_.value) + " has no place in a table's row.");
    }
  }

  static bool is_statement_of(const std::string& block, const std::string& word) {
    const auto one_of = [&](std::initializer_list<const char*> words) {
      return std::any_of(words.begin(), words.end(), [&](const char* one) { return word == one; });
    };
    if (block == "COMPONENT") return one_of({"NAME", "DESCRIPTION", "LANGUAGE", "PRAGMA"});
    if (block == "GROUP") return one_of({"NAME", "CLASS", "ID", "KEY", "DESCRIPTION", "PRAGMA"});
    if (block == "TABLE") return one_of({"NAME", "ID", "CLASS", "DESCRIPTION"});
    if (block == "ATTRIBUTE") return one_of({"NAME", "ID", "DESCRIPTION", "ACCESS", "STORAGE", "TYPE", "VALUE"});
    if (block == "ENUM") return one_of({"NAME", "TYPE", "DESCRIPTION"});
    return block == "PATH";  // NAME and one line for each operating system
  }

  Result<void> assign(const Token& word, MifFacts& facts) {
    if (open_.empty()) return wrong("mif.syntax", word.line, shown(word.value) + " stands outside of the component.");
    Block& block = open_.back();
    const std::string name = upper(word.value);
    if (!is_statement_of(block.name, name)) return wrong("mif.syntax", word.line, "A " + block.name + " has no statement " + shown(word.value) + ".");
    if (!block.said.insert(name).second && block.name != "PATH")
      return wrong("mif.syntax", word.line, "The " + block.name + " says " + shown(word.value) + " twice.");
    if (auto equals = expect('='); !equals) return equals;
    if (name == "KEY") return keys(block);
    const Token value = token_;
    const bool text = value.kind == Token::Kind::text;
    if (value.kind == Token::Kind::end || (value.kind == Token::Kind::mark && value.value != "*"))
      return wrong("mif.syntax", value.line, shown(word.value) + " has no value.");
    if ((name == "NAME" || name == "CLASS" || name == "DESCRIPTION") && !text)
      return wrong("mif.syntax", value.line, shown(word.value) + " needs a text in quotes.");
    if (name == "ID") {
      if (value.kind != Token::Kind::number || !to_number(value.value) || *to_number(value.value) == 0)
        return wrong("mif.syntax", value.line, "An ID is a number from 1.");
      block.id = std::to_string(*to_number(value.value));
    }
    if (name == "CLASS" && block.name != "COMPONENT") {
      if (value.value.empty()) return wrong("mif.syntax", value.line, "A class has a name.");
      top_level_ = top_level_ || same(value.value, facts.architecture);
    }
    if (auto moved = advance(); !moved) return moved;
    if (name == "TYPE") return length_of(value);
    if (value.kind == Token::Kind::mark) {  // Value = * "instrumentation"
      if (token_.kind != Token::Kind::text) return wrong("mif.syntax", token_.line, "After * comes a text.");
      return advance();
    }
    return {};
  }

  Result<void> keys(Block& block) {
    for (;;) {
      if (token_.kind != Token::Kind::number || !to_number(token_.value)) return wrong("mif.syntax", token_.line, "A key is a list of attribute IDs.");
      block.keys.push_back(std::to_string(*to_number(token_.value)));
      if (auto moved = advance(); !moved) return moved;
      if (token_.kind != Token::Kind::mark || token_.value != ",") return {};
      if (auto moved = advance(); !moved) return moved;
    }
  }

  // String(20), OctetString(8); every other type stands alone.
  Result<void> length_of(const Token& type) {
    static constexpr const char* types[] = {"INTEGER", "INT",      "INTEGER64",   "INT64",     "COUNTER", "COUNTER32", "COUNTER64",
                                            "GAUGE",   "GAUGE32",  "OCTETSTRING", "STRING",    "DISPLAYSTRING", "DATE"};
    const std::string name = upper(type.value);
    if (type.kind == Token::Kind::text) return {};  // a named enumeration
    if (type.kind != Token::Kind::word || std::none_of(std::begin(types), std::end(types), [&](const char* one) { return name == one; }))
      return wrong("mif.syntax", type.line, shown(type.value) + " is no type.");
    if (token_.kind != Token::Kind::mark || token_.value != "(") return {};
    if (auto moved = advance(); !moved) return moved;
    if (token_.kind != Token::Kind::number) return wrong("mif.syntax", token_.line, "A type's length is a number.");
    if (auto moved = advance(); !moved) return moved;
    return expect(')');
  }

  Words words_;
  bool header_;
  Token token_;
  std::vector<Block> open_;  // three deep at most
  bool closed_ = false, top_level_ = false;
  std::size_t statements_ = 0;
};

// UTF-8, or else Latin-1; in both no control characters but line ends, tabs and form feeds.
Result<void> check_characters(std::string_view text) {
  std::size_t line = 1;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') ++line;
    if ((byte < 0x20 && c != '\n' && c != '\r' && c != '\t' && c != '\f') || byte == 0x7f)
      return wrong("mif.charset", line, byte == 0 ? "There is a zero byte; a MIF file is UTF-8 or Latin-1." : "There is a control character.");
  }
  return {};
}

// "//Architecture<System>" at the beginning of a line, before the component.
Result<void> read_header(std::string_view text, MifFacts& facts) {
  while (!text.empty()) {
    std::string_view rest;
    std::string_view line = trimmed(cut_at(text, '\n', &rest));
    text = rest;
    if (line.empty()) continue;
    if (!line.starts_with("//")) break;
    for (const auto& [begin, into] : {std::pair{std::string_view("//Architecture<"), &facts.architecture}, std::pair{std::string_view("//UniqueID<"), &facts.unique_id}}) {
      if (line.starts_with(begin) && line.ends_with(">")) *into = std::string(line.substr(begin.size(), line.size() - begin.size() - 1));
    }
  }
  const auto good = [](const std::string& value) { return !trimmed(value).empty() && value.size() <= 255 && value.find_first_of("<>") == std::string::npos; };
  if (!good(facts.architecture)) return wrong("mif.header", 1, "Before the component stands no comment //Architecture<name>.");
  if (!good(facts.unique_id)) return wrong("mif.header", 1, "Before the component stands no comment //UniqueID<id>.");
  return {};
}

}  // namespace

Result<MifFacts> check_mif(std::string_view text, bool header) {
  if (trimmed(text).empty()) return fail(Remedy::reject, "mif.empty", "It is empty.");
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) return wrong("mif.charset", 1, "It is UTF-16; a MIF file is UTF-8 or Latin-1.");
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (auto fine = check_characters(text); !fine) return pass(fine);
  MifFacts facts;
  if (header) {
    if (auto read = read_header(text, facts); !read) return pass(read);
  }
  if (auto whole = Checker(text, header).whole(facts); !whole) return pass(whole);
  return facts;
}

}  // namespace greengate::agent

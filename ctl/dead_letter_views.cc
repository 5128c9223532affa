#include "ctl/json_read.h"
#include "ctl/table.h"
#include "ctl/views.h"

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <cstdio>

namespace greengate::ctl {
namespace json = boost::json;

namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const auto end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

// A line cut to a column's width; what was cut shows as a dot. Bytes of one character stay together.
std::string fitted(const std::string& line, std::size_t width) {
  std::string out;
  std::size_t columns = 0;
  for (std::size_t i = 0; i < line.size();) {
    std::size_t next = i + 1;
    while (next < line.size() && (static_cast<unsigned char>(line[next]) & 0xC0) == 0x80) ++next;
    if (columns + 1 == width && next < line.size()) return out + "…";
    out += static_cast<unsigned char>(line[i]) < 0x20 ? std::string(" ") : line.substr(i, next - i);
    ++columns;
    i = next;
  }
  return out + std::string(width > columns ? width - columns : 0, ' ');
}

std::string heading(const json::value& letter) {
  return facts({{"dead letter", text(letter, "id")},
                {"agent", text(letter, "agent") + " (" + text(letter, "host_name") + ")"},
                {"report", text(letter, "kind") + ", sequence " + text(letter, "sequence") + " of incarnation " + text(letter, "incarnation") + ", " +
                               bytes_text(number(letter, "bytes").value_or(0)) + ", lane " + text(letter, "lane")},
                {"collected", time_at(letter, "collected_at_ms") + " UTC, stored " + step(letter, "collected_at_ms", "stored_at_ms") + ", buried " +
                                  step(letter, "stored_at_ms", "buried_at_ms") + " after that, " + counted(number(letter, "attempts").value_or(0), "delay")},
                {"reason", text(letter, "code") + ": " + text(letter, "message")},
                {"cause", text(letter, "cause")},
                {"what helps", text(letter, "advice")}});
}

// JSON may write ten as 1E1; a person reads 10.
std::string rate_text(const json::value& progress) {
  const json::value* rate = find(progress, "per_second");
  if (!rate || !rate->is_number()) return "-";
  std::array<char, 32> shown{};
  std::snprintf(shown.data(), shown.size(), "%g", rate->to_number<double>());
  return shown.data();
}

std::string message_of(const json::value& letter) {
  if (find(letter, "message_xml")) return indented_xml(text(letter, "message_xml"));
  if (find(letter, "message_problem")) {
    return "(no message can be made of it: " + text(letter, "message_problem.code") + ": " + text(letter, "message_problem.message") + ")\n";
  }
  return "(this gateway delivers nothing, so it makes no message)\n";
}

}  // namespace

std::string indented_xml(const std::string& xml) {
  std::string out;
  std::size_t depth = 0;
  const auto begin_line = [&](std::size_t at) {
    if (!out.empty() && out.back() != '\n') out += '\n';
    out.append(std::min<std::size_t>(at, 40) * 2, ' ');
  };
  bool text_before = false;
  for (std::size_t i = 0; i < xml.size();) {
    if (xml[i] != '<') {
      const auto end = std::min(xml.find('<', i), xml.size());
      out.append(xml, i, end - i);
      text_before = true;
      i = end;
      continue;
    }
    const bool cdata = xml.compare(i, 9, "<![CDATA[") == 0;
    const char* closer = cdata ? "]]>" : ">";
    const auto found = xml.find(closer, i);
    const auto end = found == std::string::npos ? xml.size() : found + (cdata ? 3 : 1);
    const std::string_view tag = std::string_view(xml).substr(i, end - i);
    if (cdata) {
      text_before = true;
    } else if (tag.starts_with("</")) {
      if (depth > 0) --depth;
      if (!text_before) begin_line(depth);
      text_before = false;
    } else {
      begin_line(depth);
      text_before = false;
      if (!tag.ends_with("/>") && !tag.starts_with("<?") && !tag.starts_with("<!")) ++depth;
    }
    out += tag;
    if (!cdata && tag.starts_with("<") && !tag.starts_with("</") && !tag.ends_with("/>") && i + tag.size() < xml.size() &&
        xml.compare(end, 2, "</") == 0) {
      text_before = true;  // an empty element stays on its line
    }
    i = end;
  }
  return out + "\n";
}

std::string show_dead_letters(const json::value& letters) {
  if (items(letters, "dead_letters").empty()) return "No dead letters.\n";
  Table table({"LETTER", "BURIED (UTC)", "HOST", "KIND", "SIZE", "CODE", "CAUSE"});
  for (const json::value& letter : items(letters, "dead_letters")) {
    table.add({text(letter, "id"), time_at(letter, "buried_at_ms"), text(letter, "host_name"), text(letter, "kind"),
               bytes_text(number(letter, "bytes").value_or(0)), text(letter, "code"),
               is_true(letter, "has_body") ? text(letter, "cause") : "(its body was given up to make room) " + text(letter, "cause")});
  }
  return table.text() + counted(number(letters, "buried").value_or(0), "dead letter") + " in all; `greengatectl dead-letters show LETTER` tells more.\n";
}

std::string show_dead_letter(const json::value& letter) {
  if (!is_true(letter, "has_body")) return heading(letter) + "\nIts body was given up to make room; the agent sends full state again by itself.\n";
  return heading(letter) + "\nWhat the agent sent:\n" + text(letter, "report") + "\nWhat the site would get:\n" + message_of(letter);
}

std::string diff_dead_letter(const json::value& letter) {
  if (!is_true(letter, "has_body")) return show_dead_letter(letter);
  constexpr std::size_t width = 78;
  const auto left = lines_of(text(letter, "report")), right = lines_of(message_of(letter));
  std::string shown = heading(letter) + "\n" + fitted("WHAT THE AGENT SENT", width) + " │ WHAT THE SITE WOULD GET\n";
  for (std::size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
    std::string line = fitted(i < left.size() ? left[i] : "", width) + " │ " + (i < right.size() ? right[i] : "");
    while (!line.empty() && line.back() == ' ') line.pop_back();
    shown += line + "\n";
  }
  return shown;
}

std::string show_replay(const json::value& progress) {
  if (!find(progress, "started_at_ms")) return "Nothing was replayed since the gateway began.\n";
  return text(progress, "done") + " of " + counted(number(progress, "letters").value_or(0), "dead letter") + ", " + rate_text(progress) + " a second; " +
         text(progress, "put_back") + " went back into their lanes" + (is_true(progress, "running") ? ", under way" : ", done") +
         (text(progress, "last_code") == "-" ? std::string() : "; last trouble: " + text(progress, "last_code")) + ".\n";
}

}  // namespace greengate::ctl

#include "ctl/dead_letter_commands.h"

#include "ctl/views.h"

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace greengate::ctl {
namespace json = boost::json;

namespace {

/// What the commands' options are read into; one for all of them, as only one runs.
struct Wanted {
  std::string agent, code, kind, file;
  std::vector<std::uint64_t> letters;
  std::uint32_t count = 100;
  double rate = 0;
  bool all = false, progress = false;
};

std::string query(const Wanted& wanted) {
  std::string text;
  for (const auto& [name, value] : {std::pair("agent", wanted.agent), std::pair("code", wanted.code), std::pair("kind", wanted.kind)}) {
    if (!value.empty()) text += (text.empty() ? "?" : "&") + std::string(name) + "=" + in_path(value);
  }
  return text;
}

std::string with(const std::string& query, const std::string& more) { return query + (query.empty() ? "?" : "&") + more; }

json::object ids(const Wanted& wanted) {
  json::array listed;
  for (const std::uint64_t letter : wanted.letters) listed.push_back(letter);
  return json::object{{"ids", listed}};
}

int replay(const Options& options, const Wanted& wanted) {
  if (wanted.progress) return ask(options, "GET", "/v1/dead-letters/replay", "", show_replay);
  const bool filtered = !query(wanted).empty();
  if (wanted.letters.empty() && !wanted.all && !filtered) {
    std::fprintf(stderr, "greengatectl: name dead letters, or say which: --agent, --code, --kind, --all.\n");
    return 2;
  }
  json::object body = wanted.letters.empty() ? json::object() : ids(wanted);
  if (wanted.rate > 0) body["rate_per_s"] = wanted.rate;
  return ask(options, "POST", "/v1/dead-letters/replay" + query(wanted), json::serialize(body), show_replay);
}

// One JSON object a line, with the body in base64: what the admin API says of each letter. Written page by page.
int export_letters(const Options& options, const Wanted& wanted) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(wanted.file == "-" ? nullptr : std::fopen(wanted.file.c_str(), "wx"), [](std::FILE* open) {
    return open ? std::fclose(open) : 0;
  });
  if (wanted.file != "-" && !file) {
    std::fprintf(stderr, "greengatectl: %s cannot be made (it must not exist yet).\n", wanted.file.c_str());
    return 1;
  }
  std::FILE* to = file ? file.get() : stdout;
  std::uint64_t above = 0, written = 0;
  for (;;) {
    const Answer page = answer_of(options, "GET", "/v1/dead-letters" + with(query(wanted), "count=100&above=" + std::to_string(above)), "");
    if (!page.ok()) return complain(page);
    const json::value parsed = json::parse(page.json);
    const json::array& letters = parsed.at("dead_letters").as_array();
    for (const json::value& letter : letters) {
      above = letter.at("id").to_number<std::uint64_t>();
      const Answer whole = answer_of(options, "GET", "/v1/dead-letters/" + std::to_string(above) + "?body=1", "");
      if (!whole.ok()) return complain(whole);
      if (std::fprintf(to, "%s\n", whole.json.c_str()) < 0) {
        std::fprintf(stderr, "greengatectl: writing failed; the disk may be full.\n");
        return 1;
      }
      ++written;
    }
    if (letters.size() < 100) break;
  }
  if (std::fflush(to) != 0) return 1;
  std::fprintf(stderr, "%s exported.\n", counted(static_cast<std::int64_t>(written), "dead letter").c_str());
  return 0;
}

}  // namespace

void add_dead_letter_commands(CLI::App& app, const Options& options, int& exit_code) {
  const auto wanted = std::make_shared<Wanted>();
  CLI::App* letters = app.add_subcommand("dead-letters", "Reports that could not be delivered: why, and what to do about it");
  letters->require_subcommand(1);
  const auto filters = [wanted](CLI::App* command) {
    command->add_option("--agent", wanted->agent, "Only of this agent");
    command->add_option("--code", wanted->code, "Only with this reason, such as mp.bad_request");
    command->add_option("--kind", wanted->kind, "Only of this kind, such as hardware-inventory");
  };

  CLI::App* list = letters->add_subcommand("list", "A line each, oldest first");
  filters(list);
  list->add_option("--count", wanted->count, "How many")->capture_default_str();
  list->callback([=, &options, &exit_code] {
    exit_code = ask(options, "GET", "/v1/dead-letters" + with(query(*wanted), "count=" + std::to_string(wanted->count)), "", show_dead_letters);
  });
  for (const auto& [name, help, show] : {std::tuple("show", "One in full: the report, its cause, what the site would get", &show_dead_letter),
                                         std::tuple("diff", "The report beside the message made of it", &diff_dead_letter)}) {
    CLI::App* command = letters->add_subcommand(name, help);
    command->add_option("LETTER", wanted->letters, "Its number")->required()->expected(1);
    command->callback([=, &options, &exit_code, view = show] {
      exit_code = ask(options, "GET", "/v1/dead-letters/" + std::to_string(wanted->letters.front()), "", view);
    });
  }
  CLI::App* again = letters->add_subcommand("replay", "Put them back into their lanes, a few a second");
  again->add_option("LETTER", wanted->letters, "Their numbers");
  filters(again);
  again->add_flag("--all", wanted->all, "Every one");
  again->add_option("--rate", wanted->rate, "How many a second, at most 10000; the gateway's setting if left out");
  again->add_flag("--progress", wanted->progress, "How far the last replay is");
  again->callback([=, &options, &exit_code] { exit_code = replay(options, *wanted); });

  CLI::App* save = letters->add_subcommand("export", "Write them to a file, one JSON object a line, bodies in base64");
  save->add_option("FILE", wanted->file, "Must not exist yet; - is standard output")->required();
  filters(save);
  save->callback([=, &options, &exit_code] { exit_code = export_letters(options, *wanted); });

  CLI::App* discard = letters->add_subcommand("discard", "Forget them for good; their reasons stay in the history");
  discard->add_option("LETTER", wanted->letters, "Their numbers")->required();
  discard->callback([=, &options, &exit_code] {
    exit_code = ask(options, "POST", "/v1/dead-letters/discard", json::serialize(ids(*wanted)), [](const json::value& done) {
      const auto gone = done.at("discarded").to_number<std::int64_t>();
      return counted(gone, "dead letter") + (gone == 1 ? " is gone.\n" : " are gone.\n");
    });
  });
}

}  // namespace greengate::ctl

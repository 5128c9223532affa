#pragma once

#include <boost/json/fwd.hpp>

#include <cstdint>
#include <string>

namespace greengate::ctl {

/// The gateway's answers as a person reads them. Missing fields show as "-": an older gateway is not an error.
std::string show_status(const boost::json::value& status);
std::string show_agents(const boost::json::value& agents);
std::string show_agent(const boost::json::value& agent);
std::string show_reports(const boost::json::value& reports);
std::string show_tokens(const boost::json::value& tokens);
std::string show_new_token(const boost::json::value& token);
std::string show_dead_letters(const boost::json::value& letters);
std::string show_dead_letter(const boost::json::value& letter);
/// The report as protobuf text beside the message as XML.
std::string diff_dead_letter(const boost::json::value& letter);
std::string show_replay(const boost::json::value& progress);
std::string show_notifications(const boost::json::value& notifications);
std::string show_notification(const boost::json::value& notification);
std::string show_order(const boost::json::value& order);
/// One page about one agent.
std::string show_explanation(const boost::json::value& about);

/// XML on one line, an element a line, for reading only: an element's text stays on its line.
std::string indented_xml(const std::string& xml);

/// "2026-01-15 10:20:30" in UTC; "-" for no time.
std::string time_text(std::int64_t millis);
/// "350 ms", "2.4 s", "3 min 12 s", "5 h 20 min", "12 days".
std::string span_text(std::int64_t millis);
/// "1 dead letter", "2 dead letters".
std::string counted(std::int64_t count, const std::string& thing);
/// "512 B", "12.3 KiB", "4.0 GiB".
std::string bytes_text(std::int64_t bytes);

}  // namespace greengate::ctl

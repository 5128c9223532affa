// The pool's HTTP side, as its own files share it: what a server's HTTP mode is, and one agent's session over it.
#pragma once

#include "adapters/bgb/http_channel.h"
#include "adapters/bgb/http_link.h"
#include "adapters/bgb/session_pool_impl.h"

#include <array>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace greengate::adapters {

// One server's HTTP mode.
struct SessionPool::Impl::HttpSide {
  HttpSide(const bgb::Profile& profile, bgb::HttpRoute where) : binding(profile), route(std::move(where)) {}

  bgb::HttpBinding binding;
  bgb::HttpRoute route;
  bgb::HttpRules rules;
  SteadyTime broken_until{};       // after a 404 or 500 nobody asks it
  std::optional<std::string> way;  // to it over TCP, when last looked at; empty: none
  std::size_t sessions = 0;
  // Whose connection is next: a session's first, which has its place among the handshakes in flight, and further ones.
  std::deque<std::pair<std::weak_ptr<HttpSession>, bgb::Lane>> first_turns, further_turns;

  // Whether it takes TCP again is asked once for all who want to know.
  std::vector<std::weak_ptr<HttpSession>> askers;
  std::shared_ptr<tcp::socket> probe;
  SteadyTime probe_until{};
  SteadyTime dead_until{};  // after a "no" that holds for others too
};

// One agent's session over HTTP: its link decides, its two channels do. Handlers in flight keep it alive; `link` is null once nobody
// wants it, and what is left to say still goes out.
struct SessionPool::Impl::HttpSession final : bgb::WheelTimer,  // when it tries TCP
                                              bgb::HttpLinkActions,
                                              bgb::HttpChannelEvents,
                                              std::enable_shared_from_this<HttpSession> {
  HttpSession(Impl& pool, Link& link);

  void open();
  void say(bgb::Message message);
  void finish(bool orderly);
  void abandon();
  void arm();
  void on_timer();
  void settle();
  void count_out(bgb::Lane lane);
  void let_go();
  void return_due();
  // The server's answer to whether it takes TCP.
  void probed(bool there);
  // The handshake budgets have room for this lane's connection.
  void turn_came(bgb::Lane lane);
  Result<BgbIdentity> identity() const;

  // bgb::HttpLinkActions
  void exchange(bgb::Lane lane, bgb::HttpPurpose purpose, const bgb::Message* message, std::uint32_t hold_seconds) override;
  void hang_up(bgb::Lane lane) override;
  bool received(bgb::Message message) override;
  void ended(bgb::HttpEnd how, Error why) override;
  void note(bgb::HttpNote note) override;
  // bgb::HttpChannelEvents
  Result<bgb::HttpCredentials> connected(bgb::Lane lane) override;
  void secured(bgb::Lane lane) override;
  void sent(bgb::Lane lane) override;
  void replied(bgb::Lane lane, HttpResponse reply) override;
  void failed(bgb::Lane lane, Error why, bool sent) override;

  struct End {
    bgb::HttpEnd how;
    Error why;
    bool other_address;
  };
  bgb::HttpChannel& channel(bgb::Lane lane) { return *channels[static_cast<std::size_t>(lane)]; }

  Impl* pool;
  Link* link;
  Server& server;
  HttpSide& side;
  const AgentId agent;
  const std::uint32_t address;  // among those of the server's name: all connections go to one
  SmsId sms_id;
  bgb::HttpLink machine;
  bgb::CookieJar cookies;
  std::array<std::shared_ptr<bgb::HttpChannel>, bgb::lane_count> channels;
  std::array<std::optional<bgb::HttpMessageRequest>, bgb::lane_count> wants_turn;
  boost::asio::steady_timer timer;
  SteadyTime tcp_retry_at{};
  SteadyTime flush_until{};
  std::unique_ptr<End> ending;  // heard of when the present event is over
  int nested = 0;               // within a call to a channel: its events wait for the caller to settle
  std::array<bool, bgb::lane_count> counted{};  // each lane's connection, among the server's handshakes in flight
  bool opened = false;          // its first connection had its turn
  bool signing = false;         // the first connection is there, the session knows it
  bool done = false;
};

}  // namespace greengate::adapters

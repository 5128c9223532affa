#pragma once

#include "core/wakeup.h"
#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace greengate::test {

/// A gateway for tests of the agent: ROUTER with CURVE and ZAP, written from frame.proto alone,
/// that keeps what it gets and complains about everything an agent must not do.
class StrictRouter {
 public:
  struct Options {
    std::set<std::string>
        tokens;  ///< An Enrol with one of these is taken at once; others wait for approve().
    std::set<std::string> revoked;  ///< Keys that CURVE turns away (status 400).
    std::uint32_t frame_bytes_max = 16 << 20;
    std::uint32_t in_flight_max = 32;
    std::uint32_t reconnect_slot_ms = 20;
    std::uint32_t ping_interval_s = 30;
    std::uint32_t pending_retry_ms = 50;
    bool full_state_wanted = false;
    bool withhold_receipts = false;
    std::function<v1::Answer(const v1::Ask&)> answers;  ///< The nonce is put in; without it an Ask is heard and not answered.
  };

  /// Everything an agent did, over all restarts of this router.
  struct Seen {
    std::vector<v1::Enrol> enrols;
    std::vector<v1::Hello> hellos;
    std::vector<v1::Report> stored;  ///< Each report once, in order.
    std::vector<v1::TaskResult> results;
    std::vector<v1::Ask> asks;
    std::set<std::uint64_t> nonces;
    std::map<std::string, std::string> files;  ///< Whole collected files, by path and name.
    std::set<std::uint64_t> transfers;         ///< Begun.
    int publishes = 0, pings = 0, repeats = 0;
    std::vector<std::string> complaints;  ///< Must stay empty.
    std::set<std::string> keys;           ///< Who came through CURVE.
  };

  explicit StrictRouter(Options options);
  ~StrictRouter();

  /// Port 0 the first time, the same port later.
  void start();
  void stop();
  std::string endpoint() const { return "tcp://127.0.0.1:" + std::to_string(port_); }
  const std::string& public_key() const { return public_key_; }

  void change(const std::function<void(Options&)>& how);
  void approve() {
    change([](Options& options) { options.tokens.insert(""); });
  }
  /// To every agent that said Hello on a connection still known.
  void send(const v1::Frame& frame);
  /// True as soon as `when` holds; false when `patience` is over.
  bool wait(const std::function<bool(const Seen&)>& when,
            std::chrono::milliseconds patience = std::chrono::seconds(60));
  Seen seen();

 private:
  struct Peer {
    std::string key;
    bool greeted = false;
    std::uint64_t incarnation = 0;
  };
  struct Arriving {  // one file
    v1::FileChunk first;
    std::uint32_t next = 0;
    std::string content;
  };
  struct Account {  // by key: what a gateway keeps on disk
    bool active = false;
    std::uint64_t incarnation = 0;
    std::uint64_t last_stored = 0;
    Arriving arriving;
  };
  void work();
  void answer_zap(void* zap);
  void on_frame(const std::string& route, const std::string& key, const std::string& bytes);
  void on_publish(const std::string& route, Peer& peer, const v1::Publish& publish,
                  std::size_t bytes);
  void on_chunk(const std::string& key, const v1::Report& report);
  void reply(const std::string& route, const v1::Frame& frame);
  void complain(std::string what);

  std::mutex mutex_;  // guards everything below
  std::condition_variable changed_;
  Options options_;
  Seen seen_;
  std::map<std::string, Account> accounts_;
  std::map<std::string, Peer> peers_;  // by routing id
  std::vector<std::string> outbound_;
  bool stopping_ = false;

  std::string public_key_, secret_key_;
  int port_ = 0;
  Wakeup wakeup_;
  std::thread thread_;
  void* router_ = nullptr;
};

}  // namespace greengate::test

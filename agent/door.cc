#include "agent/door.h"

#include "agent/ask.h"
#include "core/random.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace greengate::agent {
namespace {

constexpr std::size_t callers_max = 16, question_bytes_max = 4 << 10;
constexpr std::chrono::seconds question_patience{5}, answer_patience{60}, taking_patience{5};
constexpr std::chrono::milliseconds push_interval{20};  // while a caller is slow to take its answer

}  // namespace

Result<std::unique_ptr<Door>> Door::open(const std::string& path, const Clock& clock) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return fail(Remedy::reject, "door.path", "The path " + path + " is too long for a socket; the agent cannot be asked by commands.");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  unlink(path.c_str());
  // Private from the first moment on.
  const mode_t before = umask(0177);
  const bool open = listener >= 0 && bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 && listen(listener, 8) == 0;
  const int why = errno;
  umask(before);
  if (!open) {
    if (listener >= 0) close(listener);
    return fail(Remedy::reject, "door.socket", "The socket " + path + " cannot be made: " + std::strerror(why) + ".");
  }
  return std::unique_ptr<Door>(new Door(listener, path, clock));
}

Door::~Door() {
  for (const Caller& caller : callers_) close(caller.fd);
  close(listener_);
  unlink(path_.c_str());
}

std::vector<int> Door::descriptors() const {
  std::vector<int> all{listener_};
  for (const Caller& caller : callers_) {
    if (!caller.answered) all.push_back(caller.fd);
  }
  return all;
}

SteadyTime Door::next_due() const {
  SteadyTime due = SteadyTime::max();
  for (const Caller& caller : callers_) due = std::min(due, caller.answered ? std::min(caller.until, clock_.steady() + push_interval) : caller.until);
  return due;
}

void Door::let_in() {
  // As many as may wait at the door; the rest has its turn at the next call.
  for (int times = 0; times < 8; ++times) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    Caller& caller = callers_.emplace_back();
    caller.fd = fd;
    caller.until = clock_.steady() + question_patience;
    if (callers_.size() > callers_max) say(caller, "door.busy", "Too many ask at the same time; try again.");
  }
}

std::vector<v1::Ask> Door::poll() {
  std::vector<v1::Ask> questions;
  let_in();
  for (auto caller = callers_.begin(); caller != callers_.end();) {
    if (serve(*caller, questions)) {
      ++caller;
      continue;
    }
    close(caller->fd);
    caller = callers_.erase(caller);
  }
  return questions;
}

bool Door::serve(Caller& caller, std::vector<v1::Ask>& questions) {
  if (!caller.answered) {
    std::array<char, 4'096> buffer;
    const ssize_t got = read(caller.fd, buffer.data(), buffer.size());
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return false;  // gone; an answer would reach nobody
    if (got > 0 && caller.nonce == 0) {
      caller.in.append(buffer.data(), static_cast<std::size_t>(got));
      const std::size_t end = caller.in.find('\n');
      if (end == std::string::npos && caller.in.size() > question_bytes_max) {
        say(caller, "ask.malformed", "A question is a line of at most 4 KiB.");
      } else if (end != std::string::npos) {
        auto ask = ask_from_json(std::string_view(caller.in).substr(0, end));
        if (!ask) {
          say(caller, ask.error().code, ask.error().message);
        } else {
          do {
            caller.nonce = random_u64();
          } while (caller.nonce == 0);
          caller.until = clock_.steady() + answer_patience;
          ask->set_nonce(caller.nonce);
          questions.push_back(std::move(*ask));
        }
        caller.in = std::string();
      }
    }
  }
  if (!caller.answered && clock_.steady() >= caller.until) {
    if (caller.nonce == 0) return false;
    say(caller, "ask.timeout", "The gateway did not answer within a minute; it may be waiting for the site. Try again.");
  }
  return !caller.answered || push(caller);
}

bool Door::push(Caller& caller) {
  while (!caller.out.empty()) {
    const ssize_t sent = send(caller.fd, caller.out.data(), caller.out.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      caller.out.erase(0, static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      return clock_.steady() < caller.until;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return false;  // all said
}

void Door::say(Caller& caller, const std::string& code, const std::string& message) {
  v1::Answer answer;
  answer.set_code(code);
  answer.set_message(message);
  caller.out = answer_to_json(answer) + "\n";
  caller.answered = true;
  caller.until = clock_.steady() + taking_patience;
}

void Door::answer(std::uint64_t nonce, const v1::Answer& answer) {
  for (Caller& caller : callers_) {
    if (caller.nonce != nonce || caller.answered || nonce == 0) continue;
    caller.out = answer_to_json(answer) + "\n";
    caller.answered = true;
    caller.until = clock_.steady() + taking_patience;
  }
}

void Door::answer_all(const std::string& code, const std::string& message) {
  for (Caller& caller : callers_) {
    if (caller.nonce != 0 && !caller.answered) say(caller, code, message);
  }
}

}  // namespace greengate::agent

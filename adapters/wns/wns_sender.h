#pragma once

#include "adapters/wns/settings.h"
#include "adapters/wns/waker.h"
#include "core/clock.h"
#include "core/metrics.h"
#include "core/result.h"

#include <boost/asio/io_context.hpp>

#include <cstdint>
#include <memory>

namespace greengate::adapters {

/// The Waker that speaks with WNS. With `enabled` false it is a success and nobody is ever woken.
///
/// Usage     All references outlive the waker. Start it after `net`'s thread, stop it before. A record handed to `book` holds the channel
///           URI in clear: the book seals it. book.keep() is called on a thread of the sender's own, book.find() on the caller's.
/// Limits    WnsSettings; one request a channel and wake at a time.
/// Threads   wake(), session_opened(), channel_read() …: any thread. Requests, timers and settling: `net`.
/// Errors    Here: http.tls_config, wns.config, wns.fingerprint_key (reject). start(): wns.secret (reject): a secret file that is missing, empty,
///           too long or readable by others. In answers and logs: the codes of docs/reference/wns.md.
/// Source    wns-mdm-push 2 to 8, 16, 17; docs/adr/0015-waking-windows-devices.md
Result<std::unique_ptr<Waker>> make_wns_waker(boost::asio::io_context& net, WnsSettings settings, ChannelBook& book, const Clock& clock,
                                              Metrics& metrics, std::uint64_t seed);

}  // namespace greengate::adapters

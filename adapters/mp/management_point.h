#pragma once

#include "adapters/http/url.h"
#include "adapters/mp/message.h"
#include "adapters/mp/verdict.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/result.h"

#include <string>
#include <string_view>

namespace greengate::adapters {

class HttpClient;

/// One management point of the site. Which one to ask, how fast and what to do next is the courier's business.
///
/// Threads   Any but the net thread; each call waits for its answer, at most MpSettings::exchange_timeout.
/// Errors    those of HttpClient and of read_verdict().
class ManagementPoint {
 public:
  /// `client`, `clock` and `settings` outlive this. `server` names scheme, host and port; its path
  /// is not used.
  ManagementPoint(HttpClient& client, const Clock& clock, const MpSettings& settings, Url server);

  /// Sends a message made for the site; its envelope's TargetHost becomes this one where it named
  /// another.
  Result<Verdict> send(const OutgoingMessage& message);

  /// GET of a small document, such as ".sms_aut?MPLIST" or a policy's target: its bytes as they were sent, since hashes
  /// go over them; document_text() makes text of them. Fails mp.no_document (reject) where it is not there or not for
  /// everyone (401, 403, 404, 405): that says nothing against the management point.
  Result<std::string> get(std::string_view target);

  /// Ends what is under way through the client, of every management point: the gateway stops.
  void abandon();

  const Url& server() const { return server_; }

 private:
  HttpClient& client_;
  const Clock& clock_;
  const MpSettings& settings_;
  const Url server_;
  const Log log_{"management_point"};
};

}  // namespace greengate::adapters

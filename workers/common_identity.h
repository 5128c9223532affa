#pragma once

#include "adapters/mp/certificate.h"
#include "adapters/mp/settings.h"
#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"
#include "store/sealer.h"

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

namespace greengate::workers {

/// One key and certificate that sign for every agent: shared among ordinary clients, or an ISV proxy's (mp-protocol 4.7).
///
/// Threads   Any.
/// Errors    identity.file (reject): a file cannot be read, written, or others may read it. seal.broken, mp.key (reject).
class CommonIdentity {
 public:
  /// Kept sealed in `file`; made when it is not there.
  static Result<std::shared_ptr<CommonIdentity>> shared_key(std::string file, const store::Sealer& sealer,
                                                            const adapters::CertificateSettings& certificate, WallTime now);
  /// From the operator's own PEM files; `sms_id` is what the site gave when the certificate was imported.
  static Result<std::shared_ptr<CommonIdentity>> isv_proxy(const std::string& key_file, const std::string& certificate_file,
                                                           SmsId sms_id);

  adapters::KeyPair pair() const;
  const SmsId& proxy_sms_id() const { return proxy_sms_id_; }
  /// A new certificate of the same key, when the old one ends within `renew_before`. Nothing for a proxy: it is the operator's.
  Result<void> renew_if_due(WallTime now, std::chrono::milliseconds renew_before);

  /// What stands in an agent's record instead of a sealed key of its own: it names key, certificate and proxy, and holds no secret.
  std::string mark() const;
  /// Is this a mark at all, of whatever common identity?
  static bool is_mark(const std::string& sealed);
  /// Is this a mark of our key? Its certificate may be an older one.
  bool same_key(const std::string& mark) const;

 private:
  CommonIdentity(adapters::KeyPair pair, SmsId proxy_sms_id) : proxy_sms_id_(std::move(proxy_sms_id)), pair_(std::move(pair)) {}
  Result<void> write() const;
  std::string key_mark() const;

  const SmsId proxy_sms_id_;
  // shared_key only
  std::string file_;
  std::shared_ptr<const store::Sealer> sealer_;
  adapters::CertificateSettings certificate_;

  mutable std::mutex mutex_;  // guards the pair
  adapters::KeyPair pair_;
};

}  // namespace greengate::workers

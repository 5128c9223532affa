#pragma once

#include "adapters/mp/message.h"
#include "greengate/v1/report.pb.h"

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace greengate::test {

/// What a site knows of one client's inventories, built from the messages alone: unpacked by zlib, read by pugixml, with nothing of the
/// product's. Notes everything a site would not have liked.
class SiteModel {
 public:
  using Row = std::map<std::string, std::vector<std::string>>;  ///< property → values
  using Rows = std::map<std::string, Row>;                      ///< key → row
  using Classes = std::map<std::string, Rows>;
  struct Version {
    std::uint64_t major = 0, minor = 0;
    friend auto operator<=>(const Version&, const Version&) = default;
  };
  struct Taken {
    std::string endpoint, message_id, type;
    Version version;
    std::size_t rows = 0;
  };

  /// The key properties of each class; a class that is not here has none.
  explicit SiteModel(std::map<std::string, std::vector<std::string>> keys) : keys_(std::move(keys)) {}

  void take(const adapters::OutgoingMessage& message);

  /// By endpoint, as hardware and software are numbered apart.
  const Classes& classes(const std::string& endpoint) const;
  const std::vector<Taken>& taken() const { return taken_; }     ///< Without repeats.
  const std::vector<std::string>& complaints() const { return complaints_; }

  /// The same rows from a state, as the site should have them.
  Classes expected(const v1::HardwareInventory& state) const;
  /// For holding two against each other: without the values that churn, and rows without keys in an order of their own.
  Classes comparable(Classes classes, const std::vector<std::pair<std::string, std::string>>& churning) const;

 private:
  std::string key_of(const std::string& class_name, const Row& row, std::size_t number) const;
  const std::map<std::string, std::vector<std::string>> keys_;
  std::map<std::string, Classes> classes_;
  std::map<std::string, Version> versions_;
  std::map<std::string, std::string> seen_;  // message ID → XML
  std::vector<Taken> taken_;
  std::vector<std::string> complaints_;
};

}  // namespace greengate::test

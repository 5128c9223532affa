#pragma once

#include "simulators/management_point/report.h"

#include <boost/json/fwd.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>

namespace greengate::sim {

/// What the site would know of one client: the rows of its inventory, kept up to date by full and delta reports.
/// Limits    Rows beyond `bytes_left` are counted but keep no values.
/// Threads   One at a time.
class Picture {
 public:
  /// Applies a report that was accepted. `bytes_left` is the store of all pictures together, taken
  /// from and given back to.
  void apply(const Report& report, std::int64_t& bytes_left);
  /// What a delta says against the rows held: adding one that is there, changing one that is not.
  /// Silent until a full report came.
  void check(const Report& report, Findings& findings) const;
  /// Name, operating system, model, processor, memory, disks, counts.
  void describe(boost::json::object& into) const;
  /// Every row of every class that kept its values, by class.
  void dump(boost::json::object& into) const;

 private:
  using Rows = std::unordered_map<std::string, std::string>;  // key → packed properties
  using Classes = std::map<std::string, Rows>;
  void put(Classes& classes, const Instance& instance, std::int64_t& bytes_left);
  static void forget(Rows& rows, const std::string& key, std::int64_t& bytes_left);
  Classes& classes_of(ReportKind kind);

  Classes discovery_, hardware_, software_;
  bool hardware_whole_ = false, software_whole_ = false;
};

}  // namespace greengate::sim

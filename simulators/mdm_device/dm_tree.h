#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace greengate::sim::mdm {

enum Verb : unsigned { can_get = 1, can_replace = 2, can_add = 4, can_delete = 8, can_exec = 16 };

/// A management object: what may be done with it and what it does then. Handlers return SyncML status codes.
struct DmNode {
  std::string format = "chr";  ///< node, chr, int, bool, null, xml, time
  unsigned verbs = can_get;
  std::string value;
  bool present = true;    ///< False: known, and there after an Add.
  bool supported = true;  ///< False: not on this edition (406).
  std::function<int(std::string& out)> on_get;
  std::function<int(const std::string& data, bool add)> on_set;
  std::function<int()> on_delete;
  std::function<int(const std::string& data)> on_exec;
};

/// The device's tree (S-27). Paths are as they stand below `./`, without `Device/`; case counts.
class DmTree {
 public:
  struct Outcome {
    int status = 200;
    std::string format, data;
  };
  DmNode& put(const std::string& path, DmNode node);
  DmNode* find(const std::string& path);

  Outcome get(const std::string& uri) const;
  int set(const std::string& uri, const std::string& data, bool add);
  int remove(const std::string& uri);
  int exec(const std::string& uri, const std::string& data);

  bool replace_makes = true;  ///< Replace of a node that is not there makes it; else 404.

  /// Everything that a rolled back Atomic must restore.
  std::map<std::string, DmNode> snapshot() const { return nodes_; }
  void restore(std::map<std::string, DmNode> nodes) { nodes_ = std::move(nodes); }

 private:
  std::map<std::string, DmNode> nodes_;
};

/// The path of a LocURI: escapes undone, `./Device/` and `./` taken off. Nothing when it does not begin with `./`.
std::optional<std::string> path_of(std::string_view loc_uri);

}  // namespace greengate::sim::mdm

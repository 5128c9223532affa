#include "simulators/mdm_device/dm_tree.h"

#include "simulators/common/text.h"

namespace greengate::sim::mdm {

std::optional<std::string> path_of(std::string_view uri) {
  if (!uri.starts_with("./") || uri.size() > 2048) return std::nullopt;
  uri.remove_prefix(2);
  if (uri.starts_with("Device/")) uri.remove_prefix(7);
  while (uri.ends_with('/')) uri.remove_suffix(1);
  std::string path;
  for (std::size_t i = 0; i < uri.size(); ++i) {
    if (uri[i] == '%') {
      const auto byte = i + 2 < uri.size() ? from_hex(uri.substr(i + 1, 2)) : std::nullopt;
      if (!byte) return std::nullopt;
      path += *byte;
      i += 2;
    } else {
      path += uri[i];
    }
  }
  return path;
}

DmNode& DmTree::put(const std::string& path, DmNode node) {
  // Interior nodes come by themselves.
  for (std::size_t at = path.find('/'); at != std::string::npos; at = path.find('/', at + 1)) {
    DmNode interior;
    interior.format = "node";
    interior.present = node.present;
    interior.supported = true;
    DmNode& parent = nodes_.try_emplace(path.substr(0, at), interior).first->second;
    if (node.present) parent.present = true;
  }
  return nodes_[path] = std::move(node);
}

DmNode* DmTree::find(const std::string& path) {
  const auto found = nodes_.find(path);
  return found == nodes_.end() ? nullptr : &found->second;
}

DmTree::Outcome DmTree::get(const std::string& uri) const {
  const auto path = path_of(uri);
  if (!path) return {400, "", ""};
  const auto found = nodes_.find(*path);
  if (found == nodes_.end()) return {404, "", ""};
  const DmNode& node = found->second;
  if (!node.supported) return {406, "", ""};
  if (!node.present) return {404, "", ""};
  if ((node.verbs & can_get) == 0) return {405, "", ""};
  Outcome outcome{200, node.format, node.value};
  if (node.format == "node") {
    const std::string prefix = *path + "/";
    for (auto it = nodes_.lower_bound(prefix); it != nodes_.end() && it->first.starts_with(prefix); ++it) {
      const std::string rest = it->first.substr(prefix.size());
      if (rest.find('/') == std::string::npos && it->second.present && it->second.supported) outcome.data += (outcome.data.empty() ? "" : "/") + rest;
    }
  } else if (node.on_get) {
    outcome.status = node.on_get(outcome.data);
  }
  return outcome;
}

int DmTree::set(const std::string& uri, const std::string& data, bool add) {
  const auto path = path_of(uri);
  if (!path) return 400;
  DmNode* node = find(*path);
  if (node == nullptr) return 404;
  if (!node->supported) return 406;
  if (add && node->present && (node->verbs & can_add) != 0) return 418;
  if ((node->verbs & (add ? can_add : can_replace)) == 0) return 405;
  if (!add && !node->present && !replace_makes) return 404;
  if (node->format == "int" && !data.empty() && !parse_number(data[0] == '-' ? std::string_view(data).substr(1) : std::string_view(data))) return 400;
  if (node->format == "bool" && data != "true" && data != "false") return 400;
  const int status = node->on_set ? node->on_set(data, add) : 200;
  node = find(*path);  // the handler may have changed the tree
  if (node == nullptr || status / 100 != 2) return status;
  node->value = data;
  node->present = true;
  // Missing parents are made along with it ("implicit Add").
  for (std::size_t at = path->find('/'); at != std::string::npos; at = path->find('/', at + 1))
    if (DmNode* parent = find(path->substr(0, at))) parent->present = true;
  return status;
}

int DmTree::remove(const std::string& uri) {
  const auto path = path_of(uri);
  if (!path) return 400;
  DmNode* node = find(*path);
  if (node == nullptr) return 404;
  if (!node->supported) return 406;
  if (!node->present) return 404;
  if ((node->verbs & can_delete) == 0) return 405;
  const int status = node->on_delete ? node->on_delete() : 200;
  if (status / 100 != 2) return status;
  const std::string prefix = *path + "/";
  for (auto& [name, each] : nodes_)
    if (name == *path || name.starts_with(prefix)) {
      each.present = false;
      each.value.clear();
    }
  return status;
}

int DmTree::exec(const std::string& uri, const std::string& data) {
  const auto path = path_of(uri);
  if (!path) return 400;
  DmNode* node = find(*path);
  if (node == nullptr) return 404;
  if (!node->supported) return 406;
  if (!node->present) return 404;
  if ((node->verbs & can_exec) == 0 || !node->on_exec) return 405;
  return node->on_exec(data);
}

}  // namespace greengate::sim::mdm

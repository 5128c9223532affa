#include "adapters/bgb/server_order.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace greengate::adapters::bgb {
namespace {

// FNV-1a with a final mix: a hash of our own, because std::hash may differ from build to build.
std::uint64_t preference(std::string_view agent, std::string_view server) {
  std::uint64_t hash = 0xCBF29CE484222325ull;
  for (const std::string_view part : {agent, server}) {
    for (const char c : part) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
    hash = (hash ^ static_cast<unsigned char>('|')) * 0x100000001B3ull;
  }
  hash ^= hash >> 33;
  hash *= 0xFF51AFD7ED558CCDull;
  return hash ^ (hash >> 33);
}

}  // namespace

std::vector<std::size_t> server_order(const AgentId& agent, const std::vector<std::string_view>& servers) {
  std::vector<std::uint64_t> weight;
  weight.reserve(servers.size());
  for (const std::string_view server : servers) weight.push_back(preference(agent.raw(), server));
  std::vector<std::size_t> order(servers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return weight[a] > weight[b]; });
  return order;
}

std::vector<std::size_t> server_order(const AgentId& agent, const std::vector<std::string>& servers) {
  return server_order(agent, std::vector<std::string_view>(servers.begin(), servers.end()));
}

}  // namespace greengate::adapters::bgb

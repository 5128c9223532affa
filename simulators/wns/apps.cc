#include "simulators/wns/apps.h"

#include "simulators/common/text.h"

#include <algorithm>

namespace greengate::sim::wns {
namespace {

constexpr std::size_t tokens_max = 1'000'000;

std::string url_safe(std::string text) {
  for (char& c : text) c = c == '+' ? '-' : c == '/' ? '_' : c;
  text.erase(std::find(text.begin(), text.end(), '='), text.end());
  return text;
}

}  // namespace

App& Apps::open(std::string_view pfn, const std::string& auth) {
  const std::string name = to_lower(pfn);
  if (const auto found = apps_.find(name); found != apps_.end() && found->second.auth == auth) return found->second;
  App& app = apps_[name];
  app.pfn = name;
  app.auth = auth;
  app.secrets.clear();
  app.tenant.clear();
  if (auth == "entra") {
    app.client_id = dice_.guid();
    app.tenant = dice_.guid();
    app.secrets.push_back("Sim~" + url_safe(to_base64(dice_.bytes(24))));
  } else {
    app.client_id = "ms-app://S-1-15-2";
    for (int i = 0; i < 7; ++i) app.client_id += '-' + std::to_string(dice_.between(100'000'000, 4'000'000'000));
    // Characters that a sender must encode in a form.
    app.secrets.push_back("Sim+" + to_base64(dice_.bytes(21)) + "/&=");
  }
  return app;
}

App* Apps::find(std::string_view pfn) {
  const auto found = apps_.find(to_lower(pfn));
  return found == apps_.end() ? nullptr : &found->second;
}

App* Apps::by_client(const std::string& auth, std::string_view client_id) {
  for (auto& [name, app] : apps_)
    if (app.auth == auth && (auth == "entra" ? equals_ignoring_case(app.client_id, client_id) : app.client_id == client_id)) return &app;
  return nullptr;
}

std::string Apps::rotate_secret(App& app, bool keep_old) {
  if (!keep_old) app.secrets.clear();
  app.secrets.insert(app.secrets.begin(), "New+" + to_base64(dice_.bytes(24)));
  return app.secrets.front();
}

std::string Apps::issue_token(App& app) {
  const std::int64_t now = clock_.now_ms();
  if (settings_.single_active) end_tokens(app.pfn);
  if (tokens_.size() >= tokens_max)
    std::erase_if(tokens_, [&](const auto& each) { return each.second.ended || each.second.expires_ms <= now; });
  const std::string value = app.auth == "entra" ? url_safe(to_base64(dice_.bytes(12))) + '.' + url_safe(to_base64(dice_.bytes(60))) + '.' +
                                                      url_safe(to_base64(dice_.bytes(32)))
                                                : to_base64("SIM-TOKEN-" + dice_.bytes(30));
  const std::int64_t life_s = app.auth == "entra" ? settings_.entra_token_s : settings_.legacy_token_s;
  tokens_[value] = Token{app.pfn, now, now + life_s * 1000, false, 0};
  ++app.tokens;
  return value;
}

Token* Apps::live_token(std::string_view value) {
  const auto found = tokens_.find(value);
  if (found == tokens_.end() || found->second.ended || found->second.expires_ms <= clock_.now_ms()) return nullptr;
  return &found->second;
}

std::size_t Apps::end_tokens(std::string_view pfn) {
  std::size_t ended = 0;
  const std::string name = to_lower(pfn);
  for (auto& [value, token] : tokens_) {
    if (token.ended || (!name.empty() && token.pfn != name)) continue;
    token.ended = true;
    ++ended;
  }
  return ended;
}

std::string Apps::any_live_token(std::string_view pfn) const {
  const std::string name = to_lower(pfn);
  for (const auto& [value, token] : tokens_)
    if (token.pfn == name && !token.ended && token.expires_ms > clock_.now_ms()) return value;
  return {};
}

}  // namespace greengate::sim::wns

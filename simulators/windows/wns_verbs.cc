// Verbs of the push service (9.5).
#include "simulators/common/text.h"
#include "simulators/windows/windows.h"

namespace greengate::sim {
namespace {
namespace json = boost::json;
}

wns::Channel* Windows::channel_of(Fields& in, Answer& answer) {
  const std::string device = in.text("device"), uri = in.text("uri");
  wns::Channel* channel = uri.empty() ? wns_.channels().newest(device) : wns_.channels().find_uri(uri);
  if (channel == nullptr) refuse(answer, 404, "channel.unknown", "There is no such channel.");
  return channel;
}

void Windows::plan_wns_verbs() {
  const auto app_of = [this](Fields& in, Answer& answer) {
    wns::App* app = wns_.apps().find(in.text("pfn"));
    if (app == nullptr) refuse(answer, 404, "app.unknown", "There is no app with this pfn.");
    return app;
  };
  const auto saved = [this](Answer& answer) {
    if (auto written = write_apps(); !written) refuse(answer, 500, written.error().code, written.error().message);
  };

  // Makes an app, or changes one.
  verbs_["wns.app"] = [this, saved](Fields& in, Answer& answer) {
    const std::string pfn = to_lower(in.text("pfn"));
    const wns::App* known = wns_.apps().find(pfn);
    const std::string auth = in.text("auth", known != nullptr ? known->auth : "legacy");
    if (pfn.empty() || (auth != "legacy" && auth != "entra")) return refuse(answer, 400, "app.syntax", "An app needs a pfn, and auth \"legacy\" or \"entra\".");
    wns::App& app = wns_.apps().open(pfn, auth);
    app.client_id = in.text("client_id", app.client_id);
    app.tenant = in.text("tenant", app.tenant);
    if (in.has("client_secret")) app.secrets = {in.text("client_secret")};
    app.closed = in.flag("closed", app.closed);
    app.blocked = in.flag("blocked", app.blocked);
    app.revoked = in.flag("revoked", app.revoked);
    answer.body["client_id"] = app.client_id;
    answer.body["client_secret"] = app.secrets.front();
    answer.body["tenant"] = app.tenant;
    saved(answer);
  };
  verbs_["wns.app.rotate_secret"] = [this, app_of, saved](Fields& in, Answer& answer) {
    wns::App* app = app_of(in, answer);
    if (app == nullptr) return;
    answer.body["client_secret"] = wns_.apps().rotate_secret(*app, in.flag("keep_old"));
    saved(answer);
  };
  // Of one app, or of all.
  verbs_["wns.token.invalidate"] = [this](Fields& in, Answer& answer) { answer.body["ended"] = wns_.apps().end_tokens(in.text("pfn")); };
  verbs_["wns.fault"] = [this](Fields& in, Answer& answer) {
    // Read whole by the faults themselves, who complain of what they do not know.
    auto added = wns_.faults().add(in.object());
    in.forgive();
    if (!added) return refuse(answer, 400, added.error().code, added.error().message);
    answer.body["id"] = *added;
  };
  verbs_["wns.fault.clear"] = [this](Fields& in, Answer& answer) {
    if (!in.has("id")) return wns_.faults().clear();
    if (!wns_.faults().remove(static_cast<std::uint64_t>(in.number("id")))) refuse(answer, 404, "fault.unknown", "There is no such fault.");
  };
  verbs_["wns.delay"] = [this](Fields& in, Answer& answer) {
    if (wns::Channel* channel = channel_of(in, answer)) channel->delay_ms = static_cast<std::int64_t>(in.real("s") * 1000);
  };
  verbs_["wns.throttle.app"] = [app_of](Fields& in, Answer& answer) {
    wns::App* app = app_of(in, answer);
    if (app == nullptr) return;
    app->throttle = {};
    app->throttle.on = !in.flag("off");
    app->throttle.status = static_cast<unsigned>(in.number("status", 406));
    app->throttle.retry_after_s = in.number("retry_after", -1);
    app->throttle.limit = in.number("limit");
    app->throttle.window_s = in.number("window_s");
  };
  verbs_["wns.throttle.channel"] = [this](Fields& in, Answer& answer) {
    wns::Channel* channel = channel_of(in, answer);
    if (channel == nullptr) return;
    channel->throttle = {};
    channel->throttle.limit = in.number("limit", 1);
    channel->throttle.window_s = in.number("window_s", 600);
  };
  verbs_["wns.channel.expire"] = [this](Fields& in, Answer& answer) {
    if (wns::Channel* channel = channel_of(in, answer)) channel->expires_ms = clock_.now_ms();
  };
  verbs_["wns.channel.revoke"] = [this](Fields& in, Answer& answer) {
    if (wns::Channel* channel = channel_of(in, answer)) channel->revoked = true;
  };
  // For a receiver that is no simulated device: it is connected or not, and counts.
  verbs_["wns.channel.issue"] = [this, app_of](Fields& in, Answer& answer) {
    const wns::App* app = app_of(in, answer);
    if (app == nullptr) return;
    const std::string owner = in.text("device", "nobody");
    if (fleet_.find(owner)) return refuse(answer, 409, "channel.device", "A simulated device asks for its channels itself.");
    wns_.pretend(owner, in.flag("connected", true));
    const wns::Channel* channel = wns_.channels().issue(app->pfn, owner, in.text("host"), in.flag("new"));
    if (channel == nullptr) return refuse(answer, 409, "channel.full", "There are too many channels.");
    answer.body["uri"] = channel->uri;
    answer.body["expires_ms"] = channel->expires_ms;
  };
  verbs_["wns.set"] = [this](Fields& in, Answer&) {
    wns::Settings& s = wns_.settings();
    s.omit_expires_in = in.flag("omit_expires_in", s.omit_expires_in);
    s.single_active = in.flag("single_active", s.single_active);
    s.legacy_token_s = in.number("legacy_token_s", s.legacy_token_s);
    s.entra_token_s = in.number("entra_token_s", s.entra_token_s);
    s.chunked_status = in.number("chunked_status", s.chunked_status);
    s.status_headers = in.text("status_headers", s.status_headers);
    s.cache_life_s = in.number("cache_life_s", s.cache_life_s);
    s.channel_life_s = in.number("channel_life_s", s.channel_life_s);
    s.same_uri_while_fresh = in.flag("same_uri_while_fresh", s.same_uri_while_fresh);
  };
}

}  // namespace greengate::sim

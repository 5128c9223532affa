#include "simulators/notification_server/notification_server.h"

#include "simulators/notification_server/engine.h"

namespace greengate::sim {

NotificationServer::NotificationServer(boost::asio::io_context& io, NotifyConfig config,
                                       const ClientDirectory* clients)
    : engine_(std::make_shared<NotifyEngine>(io, std::move(config), clients)) {}

NotificationServer::~NotificationServer() {
  engine_->stop();
}

Result<void> NotificationServer::start() {
  return engine_->start();
}
void NotificationServer::stop() {
  engine_->stop();
}
std::uint16_t NotificationServer::port() const {
  return engine_->port();
}
std::uint16_t NotificationServer::http_port() const {
  return engine_->http_port();
}

std::pair<unsigned, std::string> NotificationServer::admin(const std::string& method,
                                                           const std::string& path,
                                                           const std::string& body) {
  return engine_->admin(method, path, body);
}

}  // namespace greengate::sim

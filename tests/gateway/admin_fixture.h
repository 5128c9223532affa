// The admin interface over a store of its own in a folder of its own; what its tests share.
#pragma once

#include "core/metrics.h"
#include "gateway/admin.h"
#include "store/open_store.h"
#include "tests/support/manual_clock.h"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <future>
#include <memory>
#include <string>

namespace greengate::test {

class AdminFixture : public ::testing::Test {
 protected:
  AdminFixture() {
    const auto& info = *::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              ("greengate-admin-" + std::to_string(getpid()) + info.test_suite_name() + info.name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    store::StoreConfig config;
    config.directory = folder_.string();
    store_ = std::move(store::open_store(config, clock_, metrics_).value());
    EXPECT_TRUE(store_->start());
  }
  ~AdminFixture() override { std::filesystem::remove_all(folder_); }
  // Before a derived fixture's members go, which the house points to.
  void TearDown() override {
    store_->stop();
    admin_.reset();
  }
  void open(gateway::Admin::House house) {
    admin_ = std::make_unique<gateway::Admin>(store_->devices(), store_->reports(), clock_, std::move(house));
  }
  AgentId enrol(const std::string& host, const std::string& key, const std::string& token_hash = {}) {
    store::EnrolRequest request;
    request.key = AgentKey(key + std::string(40 - key.size(), 'k'));
    request.host_name = host;
    request.token_hash = token_hash;
    std::promise<Result<store::Device>> done;
    store_->devices().enrol(request, [&](Result<store::Device> device) { done.set_value(std::move(device)); });
    const auto device = done.get_future().get();
    EXPECT_TRUE(device) << device.error().message;
    return device ? device->id : AgentId();
  }
  boost::json::value ask(unsigned status, const std::string& method, const std::string& target, const std::string& body = {}) {
    const auto reply = admin_->answer({method, target, body});
    EXPECT_EQ(reply.status, status) << reply.json;
    return boost::json::parse(reply.json);
  }

  std::filesystem::path folder_;
  ManualClock clock_;
  Metrics metrics_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<gateway::Admin> admin_;
};

}  // namespace greengate::test

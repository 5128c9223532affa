#pragma once

#include "adapters/http/messages.h"
#include "core/result.h"

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/system/error_code.hpp>

namespace greengate::adapters {

using ReplyParser = boost::beast::http::response_parser<boost::beast::http::string_body>;

/// What went wrong between us and the peer, with a code of ours. `doing`: "reading the reply".
tl::unexpected<Error> http_error(const char* doing, const boost::system::error_code& error);

/// The reply a finished parser holds; its body is moved, not copied.
HttpResponse take_reply(ReplyParser& parser);

}  // namespace greengate::adapters

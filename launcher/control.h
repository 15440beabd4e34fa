// Asking the sidecar something and waiting for the answer: for commands, which have time
// (docs/spool.md, The control socket). The launcher of a run uses sidecar_client.h.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "launcher/line_socket.h"

namespace shmrec::launcher {

class ControlClient {
 public:
  static Result<ControlClient> connect(const std::string& socket_path);

  // The answer: an object, whatever it says. Waits 10 s at most.
  Result<nlohmann::json> ask(const nlohmann::json& request);

 private:
  std::string path_;
  LineSocket socket_;
};

}  // namespace shmrec::launcher

// Where a node agent has its XDT socket.
#ifndef F3_CLI_XDT_SOCKET_H_
#define F3_CLI_XDT_SOCKET_H_

#include <string>

namespace f3::cli {

// Beside its control socket, unless told otherwise: NAME.xdt.sock for NAME.sock.
inline std::string XdtSocketBeside(const std::string& control_socket) {
  std::string path = control_socket;
  if (path.ends_with(".sock")) path.resize(path.size() - 5);
  return path + ".xdt.sock";
}

}  // namespace f3::cli

#endif  // F3_CLI_XDT_SOCKET_H_

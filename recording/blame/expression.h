// Evaluates an expression of C over global variables to a place in a process's memory.
//
// Grammar, spaces allowed anywhere:
//   expression := '&' expression | '*' expression | postfix
//   postfix    := primary { '[' number ']' | '.' name | '->' name }
//   primary    := name | '(' expression ')'
// A name may carry namespaces and classes (a::b). Pointers are followed through the caller, who may
// not know what they hold.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "recording/blame/symbols.h"

namespace shmrec::recording {

// Where the expression leads. `size` 0: unknown.
struct EvaluatedPlace {
  uint64_t address = 0;
  uint64_t size = 0;
  // The expression's value is an address ("&x"), so it is asked about what lies there.
  bool is_address = false;
  Type type;
  std::string lacking;  // why the type is not known; "" if no variable says
};

struct ExpressionContext {
  // A variable with its address in the process.
  std::function<Result<Variable>(const std::string& name)> find_variable;
  // The value of the pointer at `address`; `text` is its spelling, for messages.
  std::function<Result<uint64_t>(uint64_t address, const std::string& text)> read_pointer;
};

// Fails with a message that shows the column where evaluation stopped and what was expected.
Result<EvaluatedPlace> evaluate_expression(const std::string& expression,
                                           const ExpressionContext& context);

}  // namespace shmrec::recording

// Result<T>: a value, or an error a user can act on. Every failure that is not a bug travels in one.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace Atoll {

// What went wrong, coarsely: decides the exit code of the program and whether trying again makes sense.
enum class ErrorCode {
    failed,       // it did not work (exit 1)
    invalid,      // wrong usage or configuration (exit 2)
    not_found,    // a file, key or peer that should be there is not (exit 1)
    corrupt,      // data that was read is not what it should be (exit 1)
    refused,      // a peer or a check said no (exit 1)
    unavailable,  // not there in time; trying again may help (exit 75)
    interrupted,  // the user asked to stop and the state is safe (exit 130)
};

struct Error {
    ErrorCode code = ErrorCode::failed;
    std::string message;  // what happened, where, what to do; one line, no trailing full stop

    // The same error with `context` in front: "reading run.toml: <message>".
    [[nodiscard]] Error within(const std::string& context) const { return {code, context + ": " + message}; }
};

// Exit code of the program for an error (docs/reference/cli.md).
[[nodiscard]] constexpr int exit_code(ErrorCode code) {
    switch (code) {
        case ErrorCode::invalid: return 2;
        case ErrorCode::unavailable: return 75;
        case ErrorCode::interrupted: return 130;
        default: return 1;
    }
}

template <typename T>
class [[nodiscard]] Result {
  public:
    Result(T value)
        : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT(google-explicit-constructor)
    Result(Error error)
        : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

    [[nodiscard]] bool ok() const { return state_.index() == 0; }
    explicit operator bool() const { return ok(); }

    // Precondition for value(): ok(). Precondition for error(): !ok().
    [[nodiscard]] T& value() & { return std::get<0>(state_); }
    [[nodiscard]] const T& value() const& { return std::get<0>(state_); }
    [[nodiscard]] T&& value() && { return std::get<0>(std::move(state_)); }
    [[nodiscard]] const Error& error() const { return std::get<1>(state_); }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T&& operator*() && { return std::move(*this).value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }

  private:
    std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
  public:
    Result() = default;
    Result(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT(google-explicit-constructor)
    [[nodiscard]] bool ok() const { return ok_; }
    explicit operator bool() const { return ok_; }
    [[nodiscard]] const Error& error() const { return error_; }

  private:
    Error error_;
    bool ok_ = true;
};

using Status = Result<void>;

}  // namespace Atoll

#define ATOLL_CONCAT_INNER(a, b) a##b
#define ATOLL_CONCAT(a, b) ATOLL_CONCAT_INNER(a, b)

// ATOLL_TRY(status): returns the error to the caller if there is one.
#define ATOLL_TRY(expression)                                \
    do {                                                     \
        auto atoll_status = (expression);                    \
        if (!atoll_status.ok()) return atoll_status.error(); \
    } while (false)

// ATOLL_ASSIGN(auto x, result): declares x from the value, or returns the error to the caller.
#define ATOLL_ASSIGN(declaration, expression)                                                              \
    auto ATOLL_CONCAT(atoll_result_, __LINE__) = (expression);                                             \
    if (!ATOLL_CONCAT(atoll_result_, __LINE__).ok()) return ATOLL_CONCAT(atoll_result_, __LINE__).error(); \
    declaration = std::move(ATOLL_CONCAT(atoll_result_, __LINE__)).value()

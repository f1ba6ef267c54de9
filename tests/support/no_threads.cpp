// RLIMIT_NPROC counts the tasks of the real user and spares whoever has CAP_SYS_RESOURCE. So root's child takes another
// real user and lays down its capabilities; its effective user stays, and with it the right to read the cores.
#include "support/no_threads.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <system_error>
#include <thread>

namespace incident::test {
namespace {

constexpr uid_t nobody = 65534;
enum Outcome : int { held, failed, unable };

bool forbid_threads() {
    if (geteuid() == 0) {
        __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
        __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3]{};
        if (setresuid(nobody, 0, 0) != 0 || syscall(SYS_capset, &header, none) != 0) return false;
    }
    const rlimit one{1, 1};
    if (setrlimit(RLIMIT_NPROC, &one) != 0) return false;
    try {
        std::jthread([] {});
    } catch (const std::system_error&) { return true; }
    return false;
}

}  // namespace

void expect_without_threads(const std::function<bool()>& body) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) _exit(!forbid_threads() ? unable : body() ? held : failed);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status)) << "died of signal " << WTERMSIG(status);
    if (WEXITSTATUS(status) == unable) GTEST_SKIP() << "threads cannot be forbidden here";
    EXPECT_EQ(WEXITSTATUS(status), held);
}

}  // namespace incident::test

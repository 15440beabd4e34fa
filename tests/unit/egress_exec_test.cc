// The exec hook: what the program gets, and that it ends.
#include <fcntl.h>
#include <signal.h>

#include "egress_support.h"
#include "sidecar/egress/exec_hook.h"

namespace shmrec::sidecar::egress {
namespace {

class EgressExec : public EgressTest {
 protected:
  std::unique_ptr<ExecHook> hook(std::vector<std::string> command, ExecOptions options = {}) {
    options.command = std::move(command);
    auto created = ExecHook::create("hook", options, log.log());
    EXPECT_TRUE(created.ok());
    return std::move(*created);
  }
  std::unique_ptr<ExecHook> shell(const std::string& script, ExecOptions options = {}) {
    return hook({"/bin/sh", "-c", script}, options);
  }
  std::string path(const char* name) const { return (temp.path / name).string(); }

  Bundle bundle = make_bundle(store, "app", "1234");
};

// False too for one that has ended and that its new parent has not reaped yet.
bool runs(const std::string& pid) {
  const std::string stat = read_file("/proc/" + pid + "/stat");
  const size_t name_end = stat.rfind(") ");
  return name_end != std::string::npos && stat[name_end + 2] != 'Z' && stat[name_end + 2] != 'X';
}

std::string word_in(const fs::path& file) {
  std::string word;
  std::ifstream(file) >> word;
  return word;
}

TEST_F(EgressExec, GetsTheBundleAndNothingElseInItsEnvironment) {
  setenv("SHMREC_TEST_SECRET", "hunter2", 1);
  bundle.trigger = "line\nbreak";
  ExecOptions options;
  options.environment = {"REGION=here"};
  const auto sent = hook({"/usr/bin/env"}, options)->send(bundle, stop);
  unsetenv("SHMREC_TEST_SECRET");
  ASSERT_TRUE(sent.ok()) << sent.error().message;
  EXPECT_EQ(log.text(),
            "hook: SHMREC_BUNDLE=" + bundle.path.string() +
                "\nhook: SHMREC_BUNDLE_NAME=app.shmrec.tar.zst"
                "\nhook: SHMREC_BUNDLE_BYTES=4"
                "\nhook: SHMREC_BUNDLE_SHA256=" +
                bundle.sha256 +
                "\nhook: SHMREC_RUN=app-7"
                "\nhook: SHMREC_TRIGGER=line\\x0abreak"
                "\nhook: SHMREC_RULE=crash"
                "\nhook: SHMREC_CREATED=2026-11-22T06:00:00Z"
                "\nhook: REGION=here"
                "\nhook: PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
}

TEST_F(EgressExec, InheritsNoDescriptorNoSignalSettingAndItsOwnGroup) {
  const UniqueFd leaked(fcntl(STDERR_FILENO, F_DUPFD, 50));
  struct sigaction ignore {
  }, before{};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &ignore, &before);
  sigset_t blocked, mask;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  sigprocmask(SIG_BLOCK, &blocked, &mask);
  const auto sent = hook({"/bin/sh", "-c",
                          "cd /proc/self/fd && echo *; readlink 0; "
                          "grep -E '^Sig(Blk|Ign)' /proc/self/status; "
                          "read -r pid name state parent group rest </proc/$$/stat; "
                          "test $pid = $group && echo leader"})
                        ->send(bundle, stop);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  sigaction(SIGPIPE, &before, nullptr);
  ASSERT_TRUE(sent.ok()) << sent.error().message;
  // 3 is the shell's own, of the directory that it lists.
  EXPECT_EQ(log.text(),
            "hook: 0 1 2 3\nhook: /dev/null\nhook: SigBlk:\\x090000000000000000\n"
            "hook: SigIgn:\\x090000000000000000\nhook: leader\n");
}

TEST_F(EgressExec, ItsStatusDecides) {
  const auto three = shell("exit 3");
  const auto failed = three->send(bundle, stop);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().message, "/bin/sh: exit status 3");
  EXPECT_TRUE(three->retry().useful);
  const auto usage = shell("exit 64");
  EXPECT_FALSE(usage->send(bundle, stop).ok());
  EXPECT_FALSE(usage->retry().useful);
  const auto killed = shell("kill -SEGV $$")->send(bundle, stop);
  ASSERT_FALSE(killed.ok());
  EXPECT_EQ(killed.error().message, "/bin/sh: killed by SIGSEGV");
}

TEST_F(EgressExec, AProgramThatIsNotThereIsSaidToBe) {
  const auto sent = hook({"/nowhere/hook"})->send(bundle, stop);
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().message, "/nowhere/hook: No such file or directory");
}

TEST_F(EgressExec, IsKilledAtItsTimeLimitWithAllThatItStarted) {
  ExecOptions options;
  options.limit = 500ms;
  options.grace = 100ms;
  const auto begin = std::chrono::steady_clock::now();
  const auto sent = shell("trap '' TERM; sleep 1000 & echo $! >" + path("pid") +
                              "; echo begun; while :; do sleep 1000; done",
                          options)
                        ->send(bundle, stop);
  const auto took = std::chrono::steady_clock::now() - begin;
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().message, "/bin/sh: not done within 500 ms, killed");
  EXPECT_GE(took, 500ms);
  EXPECT_LT(took, 5s);
  const std::string sleeper = word_in(path("pid"));
  ASSERT_NE(sleeper, "");
  EXPECT_TRUE(eventually([&] { return !runs(sleeper); }));
  EXPECT_EQ(log.text(), "hook: begun\n");
}

TEST_F(EgressExec, MayEndInOrderAtItsTimeLimit) {
  ExecOptions options;
  options.limit = 300ms;
  options.grace = 10s;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(shell("trap 'echo cleaned; exit 1' TERM; while :; do sleep 0.01; done", options)
                   ->send(bundle, stop)
                   .ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  EXPECT_NE(log.text().find("hook: cleaned\n"), std::string::npos) << log.text();
}

TEST_F(EgressExec, WhatItLeavesInTheBackgroundDoesNotHoldUsAndIsKilled) {
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(shell("sleep 1000 & echo $! >" + path("pid"))->send(bundle, stop).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  const std::string sleeper = word_in(path("pid"));
  ASSERT_NE(sleeper, "");
  EXPECT_TRUE(eventually([&] { return !runs(sleeper); }));
}

TEST_F(EgressExec, StopsWhenAsked) {
  std::thread stopper([this] {
    std::this_thread::sleep_for(100ms);
    stop = true;
  });
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(hook({"/bin/sleep", "1000"})->send(bundle, stop).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 3s);
  stopper.join();
}

TEST_F(EgressExec, MuchOutputIsReadButNotKept) {
  ASSERT_TRUE(shell("head -c 10000000 /dev/zero | tr '\\0' x; echo")->send(bundle, stop).ok());
  EXPECT_LT(log.text().size(), 5000u);
  EXPECT_NE(log.text().find("hook: 9995905 more bytes of output not shown"), std::string::npos)
      << log.text().substr(log.text().size() - 80);
}

TEST_F(EgressExec, TheProgramIsGivenByItsWholePath) {
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{}, {""}, {"hook.sh"}, {"./hook.sh"}}) {
    ExecOptions options;
    options.command = command;
    EXPECT_FALSE(ExecHook::create("hook", options, {}).ok());
  }
}

}  // namespace
}  // namespace shmrec::sidecar::egress

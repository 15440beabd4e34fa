// The subcommands of `shmrec`. Each lives in cmd_NAME.cc, parses its own arguments with CLI11 and
// returns the exit code: 0 done, 1 failed, 2 bad usage or bad input. argv[0] is the subcommand's
// name.
#pragma once

namespace shmrec::cli {

int cmd_backtrace(int argc, char** argv);
int cmd_blame(int argc, char** argv);
int cmd_bundle(int argc, char** argv);
int cmd_doctor(int argc, char** argv);
int cmd_dump(int argc, char** argv);
int cmd_export(int argc, char** argv);
int cmd_gdb(int argc, char** argv);
int cmd_inject(int argc, char** argv);
int cmd_uninject(int argc, char** argv);
int cmd_install(int argc, char** argv);
int cmd_ls(int argc, char** argv);
int cmd_policy(int argc, char** argv);
int cmd_replay(int argc, char** argv);
int cmd_report(int argc, char** argv);
int cmd_run(int argc, char** argv);
int cmd_timeline(int argc, char** argv);
int cmd_core(int argc, char** argv);
int cmd_trigger(int argc, char** argv);

}  // namespace shmrec::cli

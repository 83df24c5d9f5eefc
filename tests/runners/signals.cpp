// Facts of how the programs end and where their words go: threads, streams that are closed, full or
// read by nobody, terminals, odd names, folders that can't be read or written.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "tensor/threads.h"
#include "tests/runners/growth.h"
#include "tests/runners/options.h"

using namespace fission;
using namespace fission::test;

namespace {

// In the child: what root may do besides others is gone, for what it executes too
void without_privileges() {
  ::prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  ::syscall(SYS_capset, &header, none);
}

Launch on_stdout(const Launch& what, std::function<void()> before) {
  Launch l = what;
  l.before = std::move(before);
  return l;
}
void full_stdout() { ::dup2(::open("/dev/full", O_WRONLY), STDOUT_FILENO); }
void unread_stdout() {
  int ends[2];
  if (::pipe(ends) != 0) ::_exit(126);
  ::dup2(ends[1], STDOUT_FILENO);
  ::close(ends[0]), ::close(ends[1]);
}

// What every program says first or only
std::vector<Launch> all_programs(const Folder& folder) {
  const std::string checkpoint = learned() + "/round-1.safetensors";
  return {{"cifar", tiny_growth(folder / "run")},
          {"inspect", {checkpoint}},
          {"eval", {checkpoint, "--data", images() / "idx-more", "--threads", "1"}},
          {"export", {checkpoint, "--out", folder / "out.onnx"}},
          {"toy", "--splits 1"},
          {"bench", "--jobs eval --widths 0.125 --batch 4 --repeat 1 --threads 1"}};
}

// Stdout is a terminal of so many columns
struct Terminal {
  int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  std::string name, seen;
  std::thread reader;
  explicit Terminal(unsigned short columns) {
    REQUIRE(master >= 0);
    REQUIRE(::grantpt(master) == 0);
    REQUIRE(::unlockpt(master) == 0);
    name = ::ptsname(master);
    const winsize size{24, columns, 0, 0};
    REQUIRE(::ioctl(master, TIOCSWINSZ, &size) == 0);
  }
  ~Terminal() { ::close(master); }
  ProcessResult run(Launch l) {
    const int slave = ::open(name.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);
    l.before = [slave] { ::dup2(slave, STDOUT_FILENO); };
    std::thread reader([this] {
      char buffer[4096];
      for (ssize_t n; (n = ::read(master, buffer, sizeof buffer)) > 0;)
        seen.append(buffer, std::size_t(n));
    });
    const ProcessResult e = launch(l);
    ::close(slave);  // the last: read fails
    reader.join();
    return e;
  }
};

}  // namespace

TEST_CASE("threads: the first line says how many there are, and what that comes from") {
  Folder folder;
  const Arguments none = tiny_growth(folder / "run", "--threads 0 --rounds 0 --epochs 0");
  Launch l{"cifar", none};
  auto first = [&] {
    const ProcessResult e = launch(l);
    require_done(e);
    return e.out.substr(0, e.out.find('\n'));
  };
  l.environment = {"OMP_NUM_THREADS=1000000", "OMP_THREAD_LIMIT=1000000",
                   "SLURM_CPUS_PER_TASK=1000000"};
  l.before = [] {
    cpu_set_t mine, one;
    ::sched_getaffinity(0, sizeof mine, &mine);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
      if (CPU_ISSET(i, &mine)) CPU_SET(i, &one);
    ::sched_setaffinity(0, sizeof one, &one);
  };
  CHECK(first().find(", 1 thread (the processors that this process may use)") != std::string::npos);
  if (two_threads() == 1) return;
  l.before = nullptr;
  for (std::string& variable : l.environment) {
    const std::string before = variable, name = before.substr(0, before.find('='));
    variable = name + "=1";
    CHECK(first().find(", 1 thread (" + name + ")") != std::string::npos);
    variable = before;
  }
  for (const std::string name : {"OMP_PLACES", "GOMP_CPU_AFFINITY"}) {
    l.environment = {name + (name == "OMP_PLACES" ? "={0}" : "=0")};
    CHECK(first().find(", 1 thread (" + name + ")") != std::string::npos);
  }
  l.environment = {"SLURM_CPUS_PER_TASK=two\nof them"};
  l.arguments = tiny_growth(folder / "other", "--threads 0 --rounds 0");
  const ProcessResult e = launch(l);
  require_done(e);
  CHECK(e.err ==
        "warning: SLURM_CPUS_PER_TASK=two\\nof them: expected a number of processors, ignored\n");
}

TEST_CASE("threads: those that OpenMP does not deliver are not waited for") {
  Folder folder;
  Launch l{"cifar", tiny_growth(folder / "run", "--threads 2")};
  l.environment = {"OMP_THREAD_LIMIT=1"};
  const ProcessResult e = launch(l);
  require_done(e);
  if (two_threads() == 2)
    CHECK(e.out.find(", 1 thread (OpenMP gives no more of 2)\n") != std::string::npos);
  // one thread's bits
  require_done(launch("cifar", tiny_growth(folder / "one")));
  CHECK(differing(contents(folder / "run"), contents(folder / "one")) == "");
}

TEST_CASE("threads: more than there are processors work, and are warned of") {
  if (two_threads() == 1) return;
  Folder folder;
  const int most = threads_allowed().number;
  const ProcessResult e =
      launch("cifar",
             tiny_growth(folder / "run", {"--threads", std::to_string(most + 1), "--rounds", "0"}));
  require_done(e);
  CHECK(is_one_line(e.err));
  CHECK(e.err.find(text("warning: --threads ", most + 1, ": slow, more than the ", most, " of ")) ==
        0);
}

TEST_CASE("threads: those that the system refuses are refused in one line") {
  if (two_threads() == 1 || instrumented()) return;
  Folder folder;
  Launch l{"cifar", tiny_growth(folder / "run", "--threads 256")};
  l.before = [] {
    const rlimit memory{rlim_t(1) << 30, rlim_t(1) << 30};  // of 256 stacks of 8 MiB
    ::setrlimit(RLIMIT_AS, &memory);
    const rlimit stack{8 << 20, 8 << 20};
    ::setrlimit(RLIMIT_STACK, &stack);
  };
  check_refused(launch(l), {"cifar: --threads 256: the system gives this program ", "expected"});
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
}

TEST_CASE("streams: closed ones let nothing land in a file that is opened in their place") {
  Folder folder;
  require_done(launch("cifar", tiny_growth(folder / "alone")));
  for (int fd : {0, 1, 2, 3}) {  // 3: all of them
    CAPTURE(fd);
    for (Launch l : all_programs(folder)) {
      CAPTURE(l.program);
      std::filesystem::remove_all(folder / "run");
      l.before = [fd] {
        for (int i = 0; i < 3; i++)
          if (i == fd || fd == 3) ::close(i);
      };
      require_done(launch(l));
      if (l.program == "cifar")
        CHECK(differing(contents(folder / "run"), contents(folder / "alone")) == "");
    }
  }
}

TEST_CASE("streams: a full or unread stdout is one line and a status, and no file is broken") {
  Folder folder;
  require_done(launch("cifar", tiny_growth(folder / "alone")));
  for (const bool full : {true, false}) {
    CAPTURE(full);
    for (const Launch& l : all_programs(folder)) {
      CAPTURE(l.program);
      std::filesystem::remove_all(folder / "run");
      const ProcessResult e = launch(on_stdout(l, full ? full_stdout : unread_stdout));
      CAPTURE(e.err);
      CHECK(e.signal == 0);
      CHECK(e.status == (l.program == "cifar" && !full ? 128 + SIGPIPE : 2));
      CHECK(is_one_line(e.err));
      CHECK(e.err.find("stdout") != std::string::npos);
      if (l.program != "cifar") continue;
      require_done(launch(l));
      CHECK(differing(contents(folder / "run"), contents(folder / "alone")) == "");
    }
    const ProcessResult help =
        launch(on_stdout({"eval", {"--help"}}, full ? full_stdout : unread_stdout));
    CHECK(help.status == 2);
  }
}

TEST_CASE(
    "signals: a program with nothing to save ends at once, with a line and 128 + its number") {
  for (int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    Launch l{"bench", "--jobs train --widths 0.125 --batch 4 --repeat 10000 --threads 1"};
    l.kill_on = "thread", l.kill_with = signal;
    const ProcessResult e = launch(l);
    CHECK(e.status == 128 + signal);
    CHECK(is_one_line(e.err));
    CHECK(e.err.find("bench: SIG") == 0);
  }
}

TEST_CASE("help: on a terminal no line is wider than it, and every word is there") {
  Terminal terminal(60);
  require_done(terminal.run(Launch{"eval", {"--help"}}));
  std::istringstream wrapped(terminal.seen), words(launch("eval", {"--help"}).out),
      lines(terminal.seen);
  for (std::string line; std::getline(lines, line);) CHECK(line.size() <= 61);  // and \r
  std::string word, wanted;
  while (words >> wanted) CHECK((wrapped >> word && word == wanted));
}

TEST_CASE("progress: on a terminal no line is wider than it, and a dumb one shows none") {
  Folder folder;
  for (unsigned short columns : {40, 80, 0}) {  // 0: it doesn't say
    CAPTURE(columns);
    std::filesystem::remove_all(folder / "run");
    Terminal terminal(columns);
    Launch l{"cifar", tiny_growth(folder / "run", "--epochs 40 --rounds 0")};
    l.environment = {"TERM=xterm"};
    const ProcessResult e = terminal.run(l);
    CHECK(e.status == 0);
    std::size_t drawn = 0;
    const std::string mark = "\r\033[K";
    for (std::size_t at = 0; (at = terminal.seen.find(mark, at)) != std::string::npos;) {
      at += mark.size();
      const std::string line =
          terminal.seen.substr(at, terminal.seen.find_first_of("\r\n", at) - at);
      if (line.rfind("round 0 training, epoch ", 0) != 0 ||
          line.find(" step ") == std::string::npos)
        continue;
      drawn++;
      CHECK(line.size() < (columns ? columns : 80u));
    }
    CHECK(drawn >= 1);
  }
  for (const char* term : {"TERM=dumb", "TERM="}) {
    std::filesystem::remove_all(folder / "run");
    Terminal terminal(80);
    Launch l{"cifar", tiny_growth(folder / "run", "--epochs 40 --rounds 0")};
    l.environment = {term};
    CHECK(terminal.run(l).status == 0);
    CHECK(terminal.seen.find("epoch 40 of 40") != std::string::npos);
    CHECK(terminal.seen.find('\033') == std::string::npos);
  }
}

TEST_CASE("names: those that are no UTF-8 are written and said without an internal error") {
  Folder folder;
  const std::string odd = folder / "odd\xff\xc3";
  std::filesystem::create_directory(odd);
  const std::string checkpoint = odd + "/c.safetensors";
  std::filesystem::copy_file(learned() + "/round-1.safetensors", checkpoint);
  for (const Launch& l : std::vector<Launch>{
           {"export", {checkpoint, "--json"}},
           {"export", {checkpoint, "--json", "--out", odd + "/b.onnx"}},
           {"inspect", {checkpoint, "--json"}},
           {"eval", {checkpoint, "--json", "--data", images() / "idx-more", "--threads", "1"}}}) {
    const ProcessResult e = launch(l);
    require_done(e);
    CHECK(Json::accept(e.out));
  }
  CHECK(std::filesystem::exists(odd + "/c.onnx"));
  CHECK(std::filesystem::exists(odd + "/b.onnx"));
  const Arguments command = tiny_growth(odd + "/run", {"--start", checkpoint, "--rounds", "0"});
  Arguments started;  // --start brings its own widths
  for (std::size_t i = 0; i < command.size(); i++)
    if (command[i] == "--widths") i++;
    else started.push_back(command[i]);
  require_done(launch("cifar", started));
  require_done(launch("cifar", started));
}

TEST_CASE("export: --out - is stdout, and what stands in the file's place stays what it is") {
  Folder folder;
  const std::string checkpoint = learned() + "/round-1.safetensors";
  require_done(launch("export", {checkpoint, "--out", folder / "file.onnx"}));
  const std::string bytes = read_file(folder / "file.onnx");
  Launch l{"export", {checkpoint, "--out", "-"}};
  l.directory = folder.str();
  const ProcessResult piped = launch(l);
  require_done(piped);
  CHECK(piped.out == bytes);
  CHECK(piped.err.find("-: opset ") == 0);
  CHECK_FALSE(std::filesystem::exists(folder / "-"));
  std::filesystem::create_symlink("file.onnx", folder / "link");
  std::filesystem::resize_file(folder / "file.onnx", 0);
  require_done(launch("export", {checkpoint, "--out", folder / "link"}));
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(read_file(folder / "file.onnx") == bytes);
  std::filesystem::create_symlink("ring", folder / "ring");
  check_refused(launch("export", {checkpoint, "--out", folder / "ring"}), {"ring: file: "});
  CHECK(std::filesystem::is_symlink(folder / "ring"));
  l.before = [] { ::close(STDOUT_FILENO); };
  check_refused(launch(l), {"--out -: stdout is closed"});
  require_done(launch("export", {checkpoint, "--out", "/dev/null"}));
  CHECK(std::filesystem::is_character_file("/dev/null"));
  check_refused(launch("export", {checkpoint, "--out", "/dev/full"}), {"/dev/full: byte 0"});
  CHECK(std::filesystem::is_character_file("/dev/full"));
  Launch growth{"cifar", tiny_growth("-")};
  growth.directory = folder.str();
  check_refused(launch(growth), {"--out -: expected a folder"});
  CHECK_FALSE(std::filesystem::exists(folder / "-"));
}

TEST_CASE("folders: one that may be entered and not read holds runs and files like another") {
  Folder folder;
  const std::string drop = folder / "drop";
  std::filesystem::create_directory(drop);
  REQUIRE(::chmod(drop.c_str(), 0333) == 0);
  Launch growth{"cifar", tiny_growth(drop + "/run")},
      exported{"export", {learned() + "/round-1.safetensors", "--out", drop + "/x.onnx"}};
  for (Launch* l : {&growth, &exported}) {
    l->before = without_privileges;
    const ProcessResult e = launch(*l);
    require_done(e);
    CHECK(e.err == "");
  }
  REQUIRE(::chmod(drop.c_str(), 0755) == 0);
}

TEST_CASE("folders: a run that is done prints its table where nothing can be written") {
  Folder folder;
  Launch l{"cifar", tiny_growth(folder / "run")};
  const ProcessResult done = launch(l);
  require_done(done);
  l.before = without_privileges;
  auto modes = [&](mode_t of_files, mode_t of_folder) {
    for (const auto& entry : std::filesystem::directory_iterator(folder / "run"))
      REQUIRE(::chmod(entry.path().c_str(), of_files) == 0);
    REQUIRE(::chmod((folder / "run").c_str(), of_folder) == 0);
  };
  modes(0444, 0555);
  const ProcessResult again = launch(l);
  modes(0644, 0755);
  require_done(again);
  CHECK(table_of(again.out) == table_of(done.out));
  // one that is not done says that it can't go on
  std::filesystem::remove_all(folder / "run");
  Launch stopped = l;
  stopped.before = nullptr, stopped.crash_at = "after-log:2";
  CHECK(launch(stopped).signal == SIGKILL);
  modes(0444, 0555);
  check_refused(launch(l), {"log.jsonl: file: can't be opened (Permission denied)"});
  modes(0644, 0755);
}

TEST_CASE("threads: two runs at once take a few times as long as one, not sixty times") {
  if (instrumented() || std::thread::hardware_concurrency() < 2) return;
  // by as many threads as there are processors, and long enough to be seen
  auto seconds = [&](int n) {
    Folder folder;
    std::vector<std::thread> all;
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < n; i++)
      all.emplace_back([&, i] {
        Launch l{"cifar", tiny_growth(folder / std::to_string(i),
                                      {"--rounds", "0", "--epochs", "60", "--threads",
                                       text(std::thread::hardware_concurrency())})};
        if (i == 1) l.environment = {"OMP_DYNAMIC=true"};  // the threads that rest are made anyhow
        require_done(launch(l));
      });
    for (std::thread& t : all) t.join();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const double one = std::min(seconds(1), seconds(1));
  CHECK(seconds(2) < 15 * one + 1);
}

// shmrec-pack: the image it makes runs wherever it is mapped, and what it cannot pack it refuses.
#include <asm/prctl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "agent/agent_abi.h"
#include "agent/pack/image.h"
#include "agent/pack/relocate.h"
#include "agent/pack/testdata/probe.h"

namespace shmrec::agent {
namespace {

using Bytes = std::vector<unsigned char>;

Bytes read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(in), {});
}

ImageHeader header_of(const unsigned char* image) {
  ImageHeader header;
  std::memcpy(&header, image, sizeof header);
  return header;
}

void expect_sound(const ImageHeader& header, uint64_t image_bytes) {
  EXPECT_EQ(0, std::memcmp(header.magic, kImageMagic, sizeof kImageMagic));
  EXPECT_EQ(kAbiVersion, header.abi_version);
  EXPECT_LE(header.span_bytes, kCodeOffset);
  EXPECT_LT(header.entry, header.span_bytes);
  EXPECT_LE(header.boot_info, header.span_bytes - sizeof(BootInfo));
  EXPECT_LE(header.relocation_offset + header.relocation_count * sizeof(uint32_t), image_bytes);
  ASSERT_LE(header.segment_count, std::size(header.segments));
  uint64_t end = 0;
  for (uint32_t i = 0; i < header.segment_count; ++i) {
    const ImageSegment& segment = header.segments[i];
    EXPECT_LE(end, segment.address);
    EXPECT_LE(segment.file_bytes, segment.memory_bytes);
    EXPECT_LE(segment.file_offset + segment.file_bytes, image_bytes);
    end = segment.address + segment.memory_bytes;
  }
  EXPECT_LE(end, header.span_bytes);
}

// As an injector does it; unmapped at the end of the test.
class MappedImage {
 public:
  explicit MappedImage(const Bytes& image, uint64_t at = kBases[0])
      : header(header_of(image.data())), base(at) {
    void* const place = reinterpret_cast<void*>(base);
    mapped_ = mmap(place, header.span_bytes, PROT_READ | PROT_WRITE | PROT_EXEC,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == place;
    if (!mapped_) return;
    for (uint32_t i = 0; i < header.segment_count; ++i) {
      const ImageSegment& segment = header.segments[i];
      unsigned char* const memory = reinterpret_cast<unsigned char*>(base + segment.address);
      std::memcpy(memory, image.data() + segment.file_offset, segment.file_bytes);
      relocate(image.data(), i, base, memory);
    }
  }
  ~MappedImage() {
    if (mapped_) munmap(reinterpret_cast<void*>(base), header.span_bytes);
  }
  MappedImage(const MappedImage&) = delete;
  MappedImage& operator=(const MappedImage&) = delete;
  bool mapped() const { return mapped_; }

  ProbeEntry entry() const { return reinterpret_cast<ProbeEntry>(base + header.entry); }

  const ImageHeader header;
  const uint64_t base;

 private:
  bool mapped_ = false;
};

inline long raw_arch_prctl(long code, uint64_t argument) {
  long result;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(SYS_arch_prctl), "D"(code), "S"(argument)
               : "rcx", "r11", "memory");
  return result;
}

// Calls `entry` with the thread's fs base in a private block, as the agent calls Zydis: nothing of
// the program's TLS may be needed, nor any libc in between.
__attribute__((noinline, no_stack_protector)) ZyanStatus call_with_private_fs(ProbeEntry entry,
                                                                              ProbeCall* call) {
  alignas(64) static unsigned char block[4096];
  uint64_t own_fs = 0;
  raw_arch_prctl(ARCH_GET_FS, reinterpret_cast<uint64_t>(&own_fs));
  raw_arch_prctl(ARCH_SET_FS, reinterpret_cast<uint64_t>(block));
  const ZyanStatus status = entry(call);
  raw_arch_prctl(ARCH_SET_FS, own_fs);
  return status;
}

TEST(Pack, EmbeddedAgentImageIsSound) {
  ASSERT_GE(shmrec_agent_image_bytes, sizeof(ImageHeader));
  expect_sound(header_of(shmrec_agent_image), shmrec_agent_image_bytes);
}

TEST(Pack, EmbeddedAgentImageMapsAtItsBase) {
  const MappedImage image(Bytes(shmrec_agent_image, shmrec_agent_image + shmrec_agent_image_bytes));
  EXPECT_TRUE(image.mapped());
}

void expect_decodes(const MappedImage& image) {
  // lock cmpxchg %ecx, 0x10(%rbx,%rax,8)
  const unsigned char code[] = {0xF0, 0x0F, 0xB1, 0x4C, 0xC3, 0x10, 0x90};
  ProbeCall call = {};
  call.code = code;
  call.code_bytes = sizeof code;
  const auto entry = image.entry();
  ASSERT_TRUE(ZYAN_SUCCESS(call_with_private_fs(entry, &call)));

  EXPECT_EQ(0u, call.nonzero_bss_bytes);
  EXPECT_EQ(ZYDIS_MNEMONIC_CMPXCHG, call.instruction.mnemonic);
  EXPECT_EQ(6, call.instruction.length);
  EXPECT_TRUE(call.instruction.attributes & ZYDIS_ATTRIB_HAS_LOCK);
  const ZydisDecodedOperand& memory = call.operands[0];
  EXPECT_EQ(ZYDIS_OPERAND_TYPE_MEMORY, memory.type);
  EXPECT_EQ(32, memory.size);
  EXPECT_EQ(ZYDIS_REGISTER_RBX, memory.mem.base);
  EXPECT_EQ(ZYDIS_REGISTER_RAX, memory.mem.index);
  EXPECT_EQ(8, memory.mem.scale);
  EXPECT_EQ(0x10, memory.mem.disp.value);
}

TEST(Pack, PackedZydisDecodesAtEachPlaceWithAPrivateFsBase) {
  const Bytes file = read_file(PROBE_IMAGE);
  ASSERT_GE(file.size(), sizeof(ImageHeader));
  expect_sound(header_of(file.data()), file.size());
  // Wherever it is mapped: the second place is left from the first by its own relocation only.
  for (uint64_t base : kBases) {
    const MappedImage image(file, base);
    ASSERT_TRUE(image.mapped());
    expect_decodes(image);
  }
}

TEST(Pack, PackedZydisSaysWhatIsNoInstruction) {
  const MappedImage image(read_file(PROBE_IMAGE));
  ASSERT_TRUE(image.mapped());
  const unsigned char code[] = {0x0F, 0x0B, 0x0F};
  ProbeCall call = {};
  call.code = code + 2;
  call.code_bytes = 1;
  const auto entry = image.entry();
  EXPECT_EQ(ZYDIS_STATUS_NO_MORE_DATA, call_with_private_fs(entry, &call));
}

TEST(Pack, ImageRunsUnderTheProtectionsOfItsLayout) {
  const MappedImage image(read_file(PROBE_IMAGE));
  ASSERT_TRUE(image.mapped());
  const unsigned char code[] = {0x48, 0x89, 0x07};  // mov %rax, (%rdi)
  ProbeCall call = {};
  call.code = code;
  call.code_bytes = sizeof code;
  const auto entry = image.entry();
  ASSERT_TRUE(ZYAN_SUCCESS(call_with_private_fs(entry, &call)));

  const ImageLayout layout = call.layout;
  EXPECT_EQ(image.base, layout.image_begin);
  EXPECT_EQ(image.base + image.header.span_bytes, layout.image_end);
  EXPECT_GE(image.base + image.header.entry, layout.text_begin);
  EXPECT_LT(image.base + image.header.entry, layout.text_end);
  EXPECT_LE(layout.text_end, image.base + image.header.segments[1].address)
      << "nothing but the agent's own text makes syscalls";
  ASSERT_LE(layout.range_count, kMaxImageRanges);
  uint64_t end = layout.image_begin;
  for (uint32_t i = 0; i < layout.range_count; ++i) {
    const ImageRange& range = layout.ranges[i];
    EXPECT_EQ(end, range.begin) << "range " << i;
    EXPECT_NE(range.protection & (PROT_WRITE | PROT_EXEC), 0u + (PROT_WRITE | PROT_EXEC));
    ASSERT_EQ(0, mprotect(reinterpret_cast<void*>(range.begin), range.end - range.begin,
                          static_cast<int>(range.protection)));
    end = range.end;
  }
  EXPECT_EQ(layout.image_end, end);

  call.instruction = {};
  ASSERT_TRUE(ZYAN_SUCCESS(call_with_private_fs(entry, &call)));
  EXPECT_EQ(ZYDIS_MNEMONIC_MOV, call.instruction.mnemonic);
}

struct Outcome {
  int exit_code;
  std::string output;
};

Outcome run_pack(const std::string& agent, const std::string& zydis = ZYDIS_OBJECT) {
  const std::string out = testing::TempDir() + "pack_test.img";
  const std::string command = std::string(PACK) + " " + out + " " + agent + " " + zydis + " 2>&1";
  Outcome outcome = {-1, ""};
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return outcome;
  char line[512];
  while (std::fgets(line, sizeof line, pipe) != nullptr) outcome.output += line;
  const int status = pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  std::remove(out.c_str());
  return outcome;
}

std::string refused_object(const std::string& fault) {
  return std::string(REFUSED_DIR) + "/pack_refused_" + fault + ".so";
}

TEST(Pack, WeakImportThatNobodyDefinesIsZero) {
  const Outcome outcome = run_pack(refused_object("weak"));
  EXPECT_EQ(0, outcome.exit_code) << outcome.output;
}

struct Refusal {
  const char* fault;
  const char* message;  // part of it
};
void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.fault; }

class PackRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(PackRefuses, WithAMessageThatNamesIt) {
  const Outcome outcome = run_pack(refused_object(GetParam().fault));
  EXPECT_EQ(1, outcome.exit_code);
  EXPECT_NE(std::string::npos, outcome.output.find(GetParam().message)) << outcome.output;
}

INSTANTIATE_TEST_SUITE_P(Pack, PackRefuses,
                         testing::Values(Refusal{"import", "imports getenv"},
                                         Refusal{"tls", "thread-local storage"},
                                         Refusal{"ifunc", "indirect function"},
                                         Refusal{"text_relocation", "text relocation"},
                                         Refusal{"constructor", "static constructors"},
                                         Refusal{"relocation_type", "relocation of type 18;"},
                                         Refusal{"layout", "not a writable ImageLayout"}),
                         [](const auto& info) { return std::string(info.param.fault); });

TEST(Pack, RefusesAnObjectWithoutTheAgentsSymbols) {
  const Outcome outcome = run_pack(ZYDIS_OBJECT, PROBE_OBJECT);
  EXPECT_EQ(1, outcome.exit_code);
  EXPECT_NE(std::string::npos, outcome.output.find("libZydis")) << outcome.output;
}

TEST(Pack, RefusesFilesThatAreCutShortOrNoObject) {
  const Bytes whole = read_file(PROBE_OBJECT);
  const std::string path = testing::TempDir() + "pack_test_cut.so";
  for (size_t bytes : {size_t{0}, size_t{10}, size_t{64}, size_t{4096}, whole.size() / 2}) {
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(whole.data()), bytes);
    EXPECT_EQ(1, run_pack(path).exit_code) << bytes << " bytes";
  }
  std::remove(path.c_str());
  EXPECT_EQ(1, run_pack(path).exit_code) << "missing";
}

}  // namespace
}  // namespace shmrec::agent

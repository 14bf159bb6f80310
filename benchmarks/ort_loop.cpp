// One ONNX Runtime engine in a loop through the C API, with nothing around it: the yardstick of peers.py.
//
//   ort_loop LIBRARY ENGINE SHAPE INPUT OUTPUT_FILE WARM_UP_S SECONDS
//
// LIBRARY is the libonnxruntime.so of the wheel. The wheel has no header, so the functions are taken from the table that
// OrtGetApiBase returns by their places in it: the table of version 1 of the API is frozen, and every later version appends
// to it. The first answer is written to OUTPUT_FILE, for peers.py to compare it with Python's: a wrong place would show there.
// Prints the duration of every timed call in nanoseconds, one a line.

#include <dlfcn.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

struct Base {
  const void* const* (*get_api)(uint32_t version);
  const char* (*get_version)();
};

enum Place {
  kGetErrorMessage = 2,
  kCreateEnv = 3,
  kCreateSession = 7,
  kRun = 9,
  kCreateSessionOptions = 10,
  kSetSessionExecutionMode = 13,
  kSetSessionGraphOptimizationLevel = 23,
  kSetIntraOpNumThreads = 24,
  kSetInterOpNumThreads = 25,
  kSessionGetInputName = 36,
  kSessionGetOutputName = 37,
  kCreateTensorWithDataAsOrtValue = 49,
  kGetTensorMutableData = 51,
  kGetTensorShapeElementCount = 64,
  kGetTensorTypeAndShape = 65,
  kCreateCpuMemoryInfo = 69,
  kGetAllocatorWithDefaultOptions = 78,
  kReleaseValue = 96,
};

const void* const* api;

// Calls the function at this place of the table; one that fails returns a status that can be asked for its message.
template <typename... Given>
void call(Place place, Given... given) {
  auto function = reinterpret_cast<void* (*)(Given...)>(const_cast<void*>(api[place]));
  if (void* status = function(given...)) {
    auto message = reinterpret_cast<const char* (*)(const void*)>(const_cast<void*>(api[kGetErrorMessage]));
    std::fprintf(stderr, "function %d: %s\n", place, message(status));
    std::exit(1);
  }
}

using Clock = std::chrono::steady_clock;

}  // namespace

int main(int count, char** given) {
  if (count != 8) return 2;
  void* library = dlopen(given[1], RTLD_NOW);
  if (!library) {
    std::fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  auto base = reinterpret_cast<const Base* (*)()>(dlsym(library, "OrtGetApiBase"))();
  api = base->get_api(1);

  void *env, *options, *session, *memory, *allocator, *input;
  call(kCreateEnv, 3, "loop", &env);
  call(kCreateSessionOptions, &options);
  call(kSetIntraOpNumThreads, options, 1);
  call(kSetInterOpNumThreads, options, 1);
  call(kSetSessionExecutionMode, options, 0);           // sequential
  call(kSetSessionGraphOptimizationLevel, options, 0);  // none: the file is optimized already
  call(kCreateSession, env, static_cast<const char*>(given[2]), options, &session);
  call(kGetAllocatorWithDefaultOptions, &allocator);
  char *input_name, *output_name;
  call(kSessionGetInputName, session, size_t{0}, allocator, &input_name);
  call(kSessionGetOutputName, session, size_t{0}, allocator, &output_name);

  std::vector<int64_t> shape;
  std::stringstream sizes(given[3]);
  for (std::string size; std::getline(sizes, size, ',');) shape.push_back(std::stoll(size));
  std::ifstream file(given[4], std::ios::binary);
  std::vector<char> values((std::istreambuf_iterator<char>(file)), {});
  call(kCreateCpuMemoryInfo, 1, -1, &memory);  // the allocator's type and the memory's: an arena, the CPU's output
  call(kCreateTensorWithDataAsOrtValue, memory, static_cast<void*>(values.data()), values.size(),
       static_cast<const int64_t*>(shape.data()), shape.size(), 1, &input);  // 1: float

  auto release = reinterpret_cast<void (*)(void*)>(const_cast<void*>(api[kReleaseValue]));
  auto run = [&]() -> void* {
    void* output = nullptr;
    call(kRun, session, static_cast<void*>(nullptr), static_cast<const char* const*>(&input_name),
         static_cast<const void* const*>(&input), size_t{1}, static_cast<const char* const*>(&output_name), size_t{1},
         &output);
    return output;
  };

  void *output = run(), *about, *data;
  size_t elements;
  call(kGetTensorTypeAndShape, output, &about);
  call(kGetTensorShapeElementCount, about, &elements);
  call(kGetTensorMutableData, output, &data);
  std::ofstream(given[5], std::ios::binary).write(static_cast<char*>(data), elements * sizeof(float));
  release(output);

  std::vector<int64_t> times;
  for (double seconds : {std::atof(given[6]), std::atof(given[7])}) {
    times.clear();
    auto until = Clock::now() + std::chrono::duration<double>(seconds);
    for (auto end = Clock::now(); end < until;) {
      auto start = Clock::now();
      void* answer = run();
      end = Clock::now();
      release(answer);
      times.push_back(std::chrono::duration_cast<std::chrono::nanoseconds>(end - start).count());
    }
  }
  for (auto time : times) std::printf("%lld\n", static_cast<long long>(time));
  std::fflush(stdout);
  std::_Exit(0);
}

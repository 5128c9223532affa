// ThreadSanitizer cannot see how libzmq passes messages between its threads: Debian's library is not instrumented, and its queues are lock-free.
// So whatever has libzmq on one side is not reported; everything between our own threads still is.

extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race:libzmq.so\n"
         "race:libsodium.so\n"  // decrypts into libzmq's messages
         "called_from_lib:libzmq.so\n";
}

// The part of QEMU's plugin interface (version 1) that plugin.cc uses, declared here because Debian
// packages no header for it. The functions are in the qemu-x86_64 that loads the plugin.
#ifndef F3_HWALLOC_MODEL_RECORD_QEMU_PLUGIN_ABI_H_
#define F3_HWALLOC_MODEL_RECORD_QEMU_PLUGIN_ABI_H_

#include <cstddef>
#include <cstdint>

extern "C" {

using QemuPluginId = uint64_t;
using QemuMemInfo = uint32_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

// What a callback may do with registers, and which accesses it wants to see.
inline constexpr int kQemuNoRegisters = 0;
inline constexpr int kQemuReadsAndWrites = 3;

using QemuTranslated = void (*)(QemuPluginId, qemu_plugin_tb*);
using QemuExecuted = void (*)(unsigned vcpu, void* data);
using QemuAccessed = void (*)(unsigned vcpu, QemuMemInfo, uint64_t address, void* data);
using QemuSyscall = void (*)(QemuPluginId, unsigned vcpu, int64_t number, uint64_t, uint64_t,
                             uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
using QemuSyscallReturned = void (*)(QemuPluginId, unsigned vcpu, int64_t number, int64_t result);
using QemuExited = void (*)(QemuPluginId, void* data);

void qemu_plugin_register_vcpu_tb_trans_cb(QemuPluginId, QemuTranslated);
void qemu_plugin_register_vcpu_tb_exec_cb(qemu_plugin_tb*, QemuExecuted, int registers, void* data);
void qemu_plugin_register_vcpu_mem_cb(qemu_plugin_insn*, QemuAccessed, int registers, int accesses,
                                      void* data);
void qemu_plugin_register_vcpu_syscall_cb(QemuPluginId, QemuSyscall);
void qemu_plugin_register_vcpu_syscall_ret_cb(QemuPluginId, QemuSyscallReturned);
void qemu_plugin_register_atexit_cb(QemuPluginId, QemuExited, void* data);
size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb*);
qemu_plugin_insn* qemu_plugin_tb_get_insn(const qemu_plugin_tb*, size_t index);
unsigned qemu_plugin_mem_size_shift(QemuMemInfo);
bool qemu_plugin_mem_is_store(QemuMemInfo);

}  // extern "C"

#endif  // F3_HWALLOC_MODEL_RECORD_QEMU_PLUGIN_ABI_H_

// Shared objects that shmrec-pack must refuse: one fault each, chosen by a macro. The
// functions are those that Zydis imports.
        .text
        .irp name, shmrec_agent_entry, memcpy, memset, strlen, __stack_chk_fail, __assert_fail
        .globl \name
        .type \name, @function
\name:
        .endr
        ret
        .data
        .balign 8
        .globl shmrec_boot_info
        .type shmrec_boot_info, @object
shmrec_boot_info:
        .skip 48
        .size shmrec_boot_info, 48

#if defined(FAULT_import)
        .quad getenv
#elif defined(FAULT_weak)               // not a fault: resolves to zero
        .weak nobody_has_this
        .quad nobody_has_this
#elif defined(FAULT_tls)
        .section .tdata, "awT", @progbits
        .quad 1
#elif defined(FAULT_ifunc)
        .globl chosen_at_run_time
        .type chosen_at_run_time, @gnu_indirect_function
        .set chosen_at_run_time, shmrec_agent_entry
        .quad chosen_at_run_time
#elif defined(FAULT_text_relocation)
        .text
        .quad shmrec_boot_info
#elif defined(FAULT_constructor)
        .section .init_array, "aw", @init_array
        .quad shmrec_agent_entry
#elif defined(FAULT_relocation_type)
        .text
        movq errno@gottpoff(%rip), %rax
#elif defined(FAULT_layout)
        .globl shmrec_image_layout
        .type shmrec_image_layout, @object
shmrec_image_layout:
        .quad 0
        .size shmrec_image_layout, 8
#endif
        .section .note.GNU-stack, "", @progbits

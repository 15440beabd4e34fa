// Embeds the image file SHMREC_IMAGE; see image.h.
        .section .rodata
        .balign 64
        .globl shmrec_agent_image
        .type shmrec_agent_image, @object
shmrec_agent_image:
        .incbin SHMREC_IMAGE
.Lend:
        .size shmrec_agent_image, .Lend - shmrec_agent_image
        .balign 8
        .globl shmrec_agent_image_bytes
        .type shmrec_agent_image_bytes, @object
shmrec_agent_image_bytes:
        .quad .Lend - shmrec_agent_image
        .size shmrec_agent_image_bytes, 8
        .section .note.GNU-stack, "", @progbits

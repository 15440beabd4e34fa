// openapi.json as it is, in the program.
	.section .rodata
	.globl shmrec_openapi_begin
	.globl shmrec_openapi_end
shmrec_openapi_begin:
	.incbin "openapi.json"
shmrec_openapi_end:
	.section .note.GNU-stack,"",@progbits

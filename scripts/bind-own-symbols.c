/*
 * bind-own-symbols FILE...: binds what a shared library refers to in itself, once, in place.
 *
 * A library in C++ looks up its own functions and tables by name each time it is loaded, as a program might have others in their
 * place: for libstdc++ that is 3,000 names, which take a function's start a millisecond. Where nobody does that (the engine's private
 * folder), such a relocation may say where in the library its target lies, as after the linker's -Bsymbolic (ld(1)). What it becomes is
 * a relative relocation, which the loader adds the library's address to and is done.
 *
 * Left as they are: names that all libraries of a process have to agree about (STB_GNU_UNIQUE, and weak objects that are no tables of
 * C++'s), thread-local variables, functions that are chosen at run time (STT_GNU_IFUNC), and the lazily bound part of a table. Not for
 * libraries whose variables a program copies (R_X86_64_COPY): the engine is loaded by dlopen(3).
 *
 * Errors go to standard error, naming the file, with exit code 1. After elf(5) and the System V ABI.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { MACHINE = EM_X86_64, ABSOLUTE = R_X86_64_64, ADDRESS = R_X86_64_GLOB_DAT, CALL = R_X86_64_JUMP_SLOT, RELATIVE = R_X86_64_RELATIVE };
#elif defined(__aarch64__)
enum {
    MACHINE = EM_AARCH64, ABSOLUTE = R_AARCH64_ABS64, ADDRESS = R_AARCH64_GLOB_DAT, CALL = R_AARCH64_JUMP_SLOT, RELATIVE = R_AARCH64_RELATIVE
};
#else
#error "the relocations of this machine are not known here"
#endif

#ifndef STB_GNU_UNIQUE
#define STB_GNU_UNIQUE 10
#endif

struct file {
    unsigned char *bytes;
    size_t size;
};

/* What of the file is loaded at an address, if all `size` bytes are. */
static void *at(struct file file, Elf64_Addr address, size_t size)
{
    const Elf64_Ehdr *header = (void *)file.bytes;
    const Elf64_Phdr *segments = (void *)(file.bytes + header->e_phoff);

    for (int i = 0; i < header->e_phnum; i++) {
        const Elf64_Phdr *one = &segments[i];
        if (one->p_type != PT_LOAD || address < one->p_vaddr || address - one->p_vaddr >= one->p_filesz)
            continue;
        size_t within = address - one->p_vaddr;
        if (size > one->p_filesz - within || one->p_offset > file.size || within + size > file.size - one->p_offset)
            return NULL;
        return file.bytes + one->p_offset + within;
    }
    return NULL;
}

static bool is_library(struct file file)
{
    const Elf64_Ehdr *header = (void *)file.bytes;

    return file.size > sizeof(*header) && memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
           header->e_ident[EI_CLASS] == ELFCLASS64 && header->e_machine == MACHINE && header->e_type == ET_DYN &&
           header->e_phentsize == sizeof(Elf64_Phdr) && header->e_phoff < file.size &&
           header->e_phnum <= (file.size - header->e_phoff) / sizeof(Elf64_Phdr);
}

/* A dynamic section's entries by tag, those below DT_NUM; 0 for one that is not there. */
struct dynamic {
    Elf64_Xword value[DT_NUM];
    bool at_once;
};

static bool read_dynamic(struct file file, struct dynamic *dynamic)
{
    const Elf64_Ehdr *header = (void *)file.bytes;
    const Elf64_Phdr *segments = (void *)(file.bytes + header->e_phoff);

    memset(dynamic, 0, sizeof(*dynamic));
    for (int i = 0; i < header->e_phnum; i++) {
        if (segments[i].p_type != PT_DYNAMIC)
            continue;
        const Elf64_Dyn *entry = at(file, segments[i].p_vaddr, segments[i].p_filesz);
        if (entry == NULL)
            return false;
        for (size_t left = segments[i].p_filesz / sizeof(*entry); left > 0 && entry->d_tag != DT_NULL; left--, entry++) {
            if (entry->d_tag >= 0 && entry->d_tag < DT_NUM)
                dynamic->value[entry->d_tag] = entry->d_un.d_val;
            if (entry->d_tag == DT_FLAGS_1 && (entry->d_un.d_val & DF_1_NOW))
                dynamic->at_once = true;
        }
        dynamic->at_once |= dynamic->value[DT_BIND_NOW] != 0 || (dynamic->value[DT_FLAGS] & DF_BIND_NOW) != 0;
        return true;
    }
    return false;
}

/* Virtual tables, what is known of types, and tables of tables: one is as good as another. */
static bool is_table(const char *name)
{
    return strncmp(name, "_ZT", 3) == 0 && name[3] != '\0' && strchr("VISTC", name[3]) != NULL;
}

static bool is_its_own(const Elf64_Sym *symbol, const char *name)
{
    unsigned char type = ELF64_ST_TYPE(symbol->st_info), binding = ELF64_ST_BIND(symbol->st_info);

    if (symbol->st_shndx == SHN_UNDEF || symbol->st_shndx >= SHN_LORESERVE)
        return false;
    if (type == STT_FUNC)
        return binding == STB_GLOBAL || binding == STB_WEAK;
    return type == STT_OBJECT && (binding == STB_GLOBAL || (binding == STB_WEAK && is_table(name)));
}

/* Binds what it may of one table of relocations, and gives how many that were; -1 for a damaged one. */
static long bind_table(struct file file, const struct dynamic *dynamic, int table, int size, bool calls)
{
    size_t count = dynamic->value[size] / sizeof(Elf64_Rela);
    Elf64_Rela *relocation = at(file, dynamic->value[table], count * sizeof(*relocation));
    long bound = 0;

    if (count == 0)
        return 0;
    if (relocation == NULL)
        return -1;
    for (; count > 0; count--, relocation++) {
        unsigned type = ELF64_R_TYPE(relocation->r_info);
        if (type != ABSOLUTE && type != ADDRESS && !(type == CALL && calls))
            continue;
        size_t index = ELF64_R_SYM(relocation->r_info);
        const Elf64_Sym *symbol = at(file, dynamic->value[DT_SYMTAB] + index * sizeof(*symbol), sizeof(*symbol));
        if (symbol == NULL || symbol->st_name >= dynamic->value[DT_STRSZ])
            return -1;
        const char *name = at(file, dynamic->value[DT_STRTAB] + symbol->st_name, 1);
        if (name == NULL)
            return -1;
        if (!is_its_own(symbol, name))
            continue;
        relocation->r_addend = (Elf64_Sxword)(symbol->st_value + (type == ABSOLUTE ? (Elf64_Xword)relocation->r_addend : 0));
        relocation->r_info = ELF64_R_INFO(0, RELATIVE);
        bound++;
    }
    return bound;
}

static long bind_library(struct file file)
{
    struct dynamic dynamic;

    if (!is_library(file) || !read_dynamic(file, &dynamic))
        return -1;
    long data = bind_table(file, &dynamic, DT_RELA, DT_RELASZ, false);
    long calls = dynamic.at_once ? bind_table(file, &dynamic, DT_JMPREL, DT_PLTRELSZ, true) : 0;
    return data < 0 || calls < 0 ? -1 : data + calls;
}

static long bind_file(const char *path)
{
    long bound = -1;
    struct stat status;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return -1;
    if (fstat(fd, &status) == 0 && status.st_size > 0) {
        struct file file = { NULL, (size_t)status.st_size };
        file.bytes = mmap(NULL, file.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (file.bytes != MAP_FAILED) {
            bound = bind_library(file);
            munmap(file.bytes, file.size);
        }
    }
    close(fd);
    return bound;
}

int main(int count, char **paths)
{
    long all = 0;

    for (int i = 1; i < count; i++) {
        long bound = bind_file(paths[i]);
        if (bound < 0) {
            fprintf(stderr, "bind-own-symbols: %s: is no shared library of this machine, or damaged\n", paths[i]);
            return 1;
        }
        all += bound;
    }
    printf("%ld\n", all);
    return 0;
}

/*
 * prepare-library [--without SONAME] [--bind] [--pack] FILE...: does once, in place, what a loader would do with a shared library each time.
 *
 * --without cuts off a library that it needs and that a running function never calls: what it refers to there is zero from then on, and a
 * call into it a fault. The engine needs LLVM to compile, which a process of its own does with a library that is whole; to look up 600 names
 * of it takes a start a quarter of a millisecond.
 *
 * --bind binds what it refers to in itself. A library in C++ looks up its own functions and tables by name, as a program might have others
 * in their place: for libstdc++ that is 3,000 names, which take a start a millisecond. Where nobody does that (the engine's private folder),
 * such a relocation may say where in the library its target lies, as after the linker's -Bsymbolic (ld(1)). What it becomes is a relative
 * relocation, which the loader adds the library's address to and is done.
 *
 * --pack makes bitmaps of relative relocations, which have 24 bytes each, as the linker's -z pack-relative-relocs does: the loader reads, and
 * every process maps, half a megabyte less. That is for loaders since glibc 2.36. A library without room for what it takes is left as it is.
 *
 * Never bound are names that all libraries of a process have to agree about (STB_GNU_UNIQUE, and weak objects that are no tables of
 * C++'s), thread-local variables, functions that are chosen at run time (STT_GNU_IFUNC), and the lazily bound part of a table. Not for
 * libraries whose variables a program copies (R_X86_64_COPY): the engine is loaded by dlopen(3).
 *
 * Prints how many references were cut off, how many were bound, and how many relocations are packed. Errors go to standard error, naming the file, with exit code 1.
 * After elf(5) and the System V ABI.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { MACHINE = EM_X86_64, ABSOLUTE = R_X86_64_64, ADDRESS = R_X86_64_GLOB_DAT, CALL = R_X86_64_JUMP_SLOT, RELATIVE = R_X86_64_RELATIVE, NONE = R_X86_64_NONE };
#elif defined(__aarch64__)
enum {
    MACHINE = EM_AARCH64, ABSOLUTE = R_AARCH64_ABS64, ADDRESS = R_AARCH64_GLOB_DAT, CALL = R_AARCH64_JUMP_SLOT, RELATIVE = R_AARCH64_RELATIVE,
    NONE = R_AARCH64_NONE
};
#else
#error "the relocations of this machine are not known here"
#endif

/* The version of the C library that a loader wants to see asked for where relocations are packed: an older one, which would pass over them, has it not. */
static const char PACKS[] = "GLIBC_ABI_DT_RELR";

/* What the C library's <elf.h> of an older system lacks. */
#ifndef STB_GNU_UNIQUE
#define STB_GNU_UNIQUE 10
#endif
#ifndef DT_RELR
#define DT_RELRSZ 35
#define DT_RELR 36
#define DT_RELRENT 37
#endif

enum { WORD = sizeof(Elf64_Xword), VERSIONS = 1 << 15 };

struct library {
    unsigned char *bytes;
    size_t size;
    /* The dynamic section, as long as its segment: entries, the null that ends them, and nulls to spare. */
    Elf64_Dyn *dynamic;
    size_t entries;
};

struct counts {
    size_t cut, bound, packed;
};

/* What of the file is loaded at an address, if all `size` bytes are. */
static void *at(const struct library *library, Elf64_Addr address, size_t size)
{
    const Elf64_Ehdr *header = (void *)library->bytes;
    const Elf64_Phdr *segments = (void *)(library->bytes + header->e_phoff);

    for (int i = 0; i < header->e_phnum; i++) {
        const Elf64_Phdr *one = &segments[i];
        if (one->p_type != PT_LOAD || address < one->p_vaddr || address - one->p_vaddr >= one->p_filesz)
            continue;
        size_t within = address - one->p_vaddr;
        if (size > one->p_filesz - within || one->p_offset > library->size || within + size > library->size - one->p_offset)
            return NULL;
        return library->bytes + one->p_offset + within;
    }
    return NULL;
}

static bool is_library(const struct library *library)
{
    const Elf64_Ehdr *header = (void *)library->bytes;

    return library->size > sizeof(*header) && memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
           header->e_ident[EI_CLASS] == ELFCLASS64 && header->e_machine == MACHINE && header->e_type == ET_DYN &&
           header->e_phentsize == sizeof(Elf64_Phdr) && header->e_phoff < library->size &&
           header->e_phnum <= (library->size - header->e_phoff) / sizeof(Elf64_Phdr);
}

static bool find_dynamic(struct library *library)
{
    const Elf64_Ehdr *header = (void *)library->bytes;
    const Elf64_Phdr *segments = (void *)(library->bytes + header->e_phoff);

    for (int i = 0; i < header->e_phnum; i++) {
        if (segments[i].p_type == PT_DYNAMIC) {
            library->dynamic = at(library, segments[i].p_vaddr, segments[i].p_filesz);
            library->entries = segments[i].p_filesz / sizeof(Elf64_Dyn);
        }
    }
    return library->dynamic != NULL && library->entries > 0 && library->dynamic[library->entries - 1].d_tag == DT_NULL;
}

/* The first entry with a tag, or NULL. With DT_NULL, the one behind the last. */
static Elf64_Dyn *entry(const struct library *library, Elf64_Sxword tag)
{
    for (Elf64_Dyn *one = library->dynamic; one < library->dynamic + library->entries; one++) {
        if (one->d_tag == tag)
            return one;
        if (one->d_tag == DT_NULL)
            return NULL;
    }
    return NULL;
}

/* An entry's value; 0 for one that is not there. */
static Elf64_Xword value(const struct library *library, Elf64_Sxword tag)
{
    const Elf64_Dyn *one = entry(library, tag);

    return one == NULL ? 0 : one->d_un.d_val;
}

static void remove_entry(struct library *library, Elf64_Dyn *one)
{
    Elf64_Dyn *end = library->dynamic + library->entries;

    memmove(one, one + 1, (size_t)(end - one - 1) * sizeof(*one));
    end[-1] = (Elf64_Dyn){ .d_tag = DT_NULL };
}

static void set(struct library *library, Elf64_Sxword tag, Elf64_Xword to)
{
    Elf64_Dyn *one = entry(library, tag);

    if (one == NULL)
        one = entry(library, DT_NULL);
    one->d_tag = tag;
    one->d_un.d_val = to;
}

static size_t spare(const struct library *library)
{
    return (size_t)(library->dynamic + library->entries - 1 - entry(library, DT_NULL));
}

/* Whether all calls are bound when it is loaded. Otherwise the table of calls is one of places, by number. */
static bool is_bound_at_once(const struct library *library)
{
    return entry(library, DT_BIND_NOW) != NULL || (value(library, DT_FLAGS) & DF_BIND_NOW) != 0 ||
           (value(library, DT_FLAGS_1) & DF_1_NOW) != 0;
}

static const char *text(const struct library *library, Elf64_Xword offset)
{
    return offset < value(library, DT_STRSZ) ? at(library, value(library, DT_STRTAB) + offset, 1) : NULL;
}

static Elf64_Sym *symbol_of(const struct library *library, const Elf64_Rela *relocation)
{
    return at(library, value(library, DT_SYMTAB) + ELF64_R_SYM(relocation->r_info) * sizeof(Elf64_Sym), sizeof(Elf64_Sym));
}

/* A table of relocations that may be changed as a whole. */
struct table {
    Elf64_Sxword at, size;
    Elf64_Rela *first;
    size_t count;
};

/* Gives how many of the two there are; -1 for a damaged one. */
static int tables(const struct library *library, struct table table[2])
{
    static const Elf64_Sxword tags[2][2] = { { DT_RELA, DT_RELASZ }, { DT_JMPREL, DT_PLTRELSZ } };
    int count = 0;

    for (int i = 0; i < (is_bound_at_once(library) ? 2 : 1); i++) {
        size_t size = value(library, tags[i][1]);
        if (size == 0)
            continue;
        Elf64_Rela *first = at(library, value(library, tags[i][0]), size);
        if (first == NULL)
            return -1;
        table[count++] = (struct table){ tags[i][0], tags[i][1], first, size / sizeof(*first) };
    }
    return count;
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

static bool bind(struct library *library, struct counts *counts)
{
    struct table table[2];
    int found = tables(library, table);

    for (int i = 0; i < found; i++) {
        for (Elf64_Rela *one = table[i].first; one < table[i].first + table[i].count; one++) {
            unsigned type = ELF64_R_TYPE(one->r_info);
            if (type != ABSOLUTE && type != ADDRESS && type != CALL)
                continue;
            const Elf64_Sym *symbol = symbol_of(library, one);
            const char *name = symbol == NULL ? NULL : text(library, symbol->st_name);
            if (name == NULL)
                return false;
            if (!is_its_own(symbol, name))
                continue;
            one->r_addend = (Elf64_Sxword)(symbol->st_value + (type == ABSOLUTE ? (Elf64_Xword)one->r_addend : 0));
            one->r_info = ELF64_R_INFO(0, RELATIVE);
            counts->bound++;
        }
    }
    return found >= 0;
}

/* The section that begins at an address, for who reads a library by sections: NULL where there is none. */
static Elf64_Shdr *section(const struct library *library, Elf64_Addr address)
{
    const Elf64_Ehdr *header = (void *)library->bytes;
    Elf64_Shdr *sections = (void *)(library->bytes + header->e_shoff);

    if (header->e_shoff == 0 || header->e_shentsize != sizeof(*sections) || header->e_shoff > library->size ||
        header->e_shnum > (library->size - header->e_shoff) / sizeof(*sections))
        return NULL;
    for (int i = 0; i < header->e_shnum; i++) {
        if ((sections[i].sh_flags & SHF_ALLOC) != 0 && sections[i].sh_addr == address && sections[i].sh_size > 0)
            return &sections[i];
    }
    return NULL;
}

/* A table is where it was, or elsewhere, and has another size. */
static void resize(struct library *library, Elf64_Addr from, Elf64_Addr to, size_t size)
{
    Elf64_Shdr *one = section(library, from);

    if (one == NULL)
        return;
    one->sh_addr = to;
    one->sh_offset = (Elf64_Off)((unsigned char *)at(library, to, 1) - library->bytes);
    one->sh_size = size;
}

/* A table of relocations has so many of those that it had. */
static void shorten(struct library *library, const struct table *table, size_t count)
{
    Elf64_Addr address = value(library, table->at);

    set(library, table->size, count * sizeof(Elf64_Rela));
    resize(library, address, address, count * sizeof(Elf64_Rela));
}

/* Takes a library off those whose versions of names are asked for, and says which numbers those had. Whether it was one of them. */
static bool forget_versions(struct library *library, const char *soname, bool gone[VERSIONS])
{
    Elf64_Dyn *first = entry(library, DT_VERNEED), *count = entry(library, DT_VERNEEDNUM);
    Elf64_Verneed *before = NULL;

    if (first == NULL || count == NULL)
        return false;
    Elf64_Addr address = first->d_un.d_ptr;
    for (Elf64_Xword left = count->d_un.d_val; left > 0; left--) {
        Elf64_Verneed *one = at(library, address, sizeof(*one));
        const char *file = one == NULL ? NULL : text(library, one->vn_file);
        if (file == NULL)
            return false;
        if (strcmp(file, soname) != 0) {
            address += one->vn_next;
            before = one;
            continue;
        }
        Elf64_Addr version = address + one->vn_aux;
        for (unsigned names = one->vn_cnt; names > 0; names--) {
            const Elf64_Vernaux *aux = at(library, version, sizeof(*aux));
            if (aux == NULL || aux->vna_other >= VERSIONS)
                return false;
            gone[aux->vna_other] = true;
            version += aux->vna_next;
        }
        Elf64_Shdr *table = section(library, first->d_un.d_ptr);
        if (table != NULL)
            table->sh_info--;
        if (before != NULL) {
            before->vn_next = one->vn_next == 0 ? 0 : before->vn_next + one->vn_next;
        } else {
            if (table != NULL)
                resize(library, first->d_un.d_ptr, first->d_un.d_ptr + one->vn_next, table->sh_size - one->vn_next);
            first->d_un.d_ptr += one->vn_next;
        }
        if (--count->d_un.d_val == 0) {
            /* The loader does not count. */
            remove_entry(library, entry(library, DT_VERNEED));
            remove_entry(library, entry(library, DT_VERNEEDNUM));
        }
        return true;
    }
    return false;
}

static Elf64_Dyn *need(const struct library *library, const char *soname)
{
    for (Elf64_Dyn *one = library->dynamic; one->d_tag != DT_NULL; one++) {
        const char *name = one->d_tag == DT_NEEDED ? text(library, one->d_un.d_val) : NULL;
        if (name != NULL && strcmp(name, soname) == 0)
            return one;
    }
    return NULL;
}

/* Marks references to names of those versions as none, and makes their places zero. */
static bool mark(struct library *library, const struct table *table, const bool gone[VERSIONS], struct counts *counts)
{
    for (Elf64_Rela *one = table->first; one < table->first + table->count; one++) {
        size_t index = ELF64_R_SYM(one->r_info);
        const Elf64_Half *version = at(library, value(library, DT_VERSYM) + index * sizeof(*version), sizeof(*version));
        const Elf64_Sym *symbol = symbol_of(library, one);
        unsigned char *place = at(library, one->r_offset, WORD);
        if (version == NULL || symbol == NULL)
            return false;
        if (index == 0 || symbol->st_shndx != SHN_UNDEF || !gone[*version & (VERSIONS - 1)])
            continue;
        if (place == NULL)
            return false;
        memset(place, 0, WORD);
        one->r_info = ELF64_R_INFO(index, NONE);
        counts->cut++;
    }
    return true;
}

/* Removes what is marked, whose names need not be found any more: linkers ask for them, too. */
static void remove_marked(struct library *library, const struct table *table)
{
    Elf64_Rela *kept = table->first;

    for (const Elf64_Rela *one = kept; one < table->first + table->count; one++) {
        size_t index = ELF64_R_SYM(one->r_info);
        if (index == 0 || ELF64_R_TYPE(one->r_info) != NONE) {
            *kept++ = *one;
            continue;
        }
        Elf64_Sym *symbol = symbol_of(library, one);
        symbol->st_info = ELF64_ST_INFO(STB_WEAK, ELF64_ST_TYPE(symbol->st_info));
        *(Elf64_Half *)at(library, value(library, DT_VERSYM) + index * sizeof(Elf64_Half), sizeof(Elf64_Half)) = VER_NDX_GLOBAL;
    }
    shorten(library, table, (size_t)(kept - table->first));
}

/* See the top. What it looks up there by name has a version, as everything does that is LLVM's. */
static bool cut_off(struct library *library, const char *soname, struct counts *counts)
{
    static bool gone[VERSIONS];
    struct table table[2];

    memset(gone, 0, sizeof(gone));
    /* What is called lazily would still be looked up. */
    if (need(library, soname) == NULL || !is_bound_at_once(library) || !forget_versions(library, soname, gone))
        return false;
    remove_entry(library, need(library, soname));
    int found = tables(library, table);
    for (int i = 0; i < found; i++) {
        if (!mark(library, &table[i], gone, counts))
            return false;
    }
    for (int i = 0; i < found; i++)
        remove_marked(library, &table[i]);
    return found >= 0;
}

static int by_address(const void *one, const void *other)
{
    Elf64_Addr a = *(const Elf64_Addr *)one, b = *(const Elf64_Addr *)other;

    return (a > b) - (a < b);
}

/* Writes sorted addresses as the bitmaps of DT_RELR, and gives how many words those are: an address, then for each 63 words behind it a
 * word whose lowest bit is set and whose others say which of them are meant. */
static size_t write_bitmaps(const Elf64_Addr *address, size_t count, Elf64_Xword *words)
{
    size_t written = 0;

    for (size_t i = 0; i < count;) {
        Elf64_Addr base = address[i] + WORD;
        words[written++] = address[i++];
        for (;;) {
            Elf64_Xword bits = 0;
            for (; i < count && address[i] - base < 63 * WORD; i++)
                bits |= (Elf64_Xword)1 << ((address[i] - base) / WORD);
            if (bits == 0)
                break;
            words[written++] = bits << 1 | 1;
            base += 63 * WORD;
        }
    }
    return written;
}

/* As elf(5) has it for the names of versions. */
static Elf64_Word hash_of(const char *name)
{
    Elf64_Word hash = 0;

    for (; *name != '\0'; name++) {
        hash = (hash << 4) + (unsigned char)*name;
        hash ^= (hash & 0xf0000000) >> 24;
        hash &= 0x0fffffff;
    }
    return hash;
}

/* The table of the versions that are asked for: where it ends, where those of the C library do, and the highest number. */
struct versions {
    Elf64_Addr end, libc, last_of_libc;
    Elf64_Half highest;
};

/* False for a damaged table. Without a version of the C library's there is no `libc`. */
static bool find_versions(const struct library *library, struct versions *versions)
{
    Elf64_Addr address = value(library, DT_VERNEED);

    *versions = (struct versions){ 0 };
    for (Elf64_Xword left = value(library, DT_VERNEEDNUM); left > 0; left--) {
        const Elf64_Verneed *one = at(library, address, sizeof(*one));
        const char *file = one == NULL ? NULL : text(library, one->vn_file);
        if (file == NULL)
            return false;
        bool is_libc = strncmp(file, "libc.so.", strlen("libc.so.")) == 0;
        Elf64_Addr version = address + one->vn_aux;
        for (unsigned i = 0; i < one->vn_cnt; i++) {
            const Elf64_Vernaux *aux = at(library, version, sizeof(*aux));
            if (aux == NULL)
                return false;
            if (aux->vna_other > versions->highest)
                versions->highest = aux->vna_other;
            if (version + sizeof(*aux) > versions->end)
                versions->end = version + sizeof(*aux);
            if (is_libc) {
                versions->libc = address;
                versions->last_of_libc = version;
            }
            version += aux->vna_next;
        }
        address += one->vn_next;
    }
    return true;
}

static Elf64_Addr aligned(Elf64_Addr address)
{
    return (address + WORD - 1) / WORD * WORD;
}

/* How many bytes it takes to ask for PACKS: all names, and all versions, as neither table has room for one more. */
static size_t room_to_ask(const struct library *library, const struct versions *versions)
{
    size_t names = value(library, DT_STRSZ) + sizeof(PACKS), table = versions->end - value(library, DT_VERNEED);

    return aligned(names) + aligned(table) + sizeof(Elf64_Vernaux);
}

/* Asks for PACKS, by tables at a free place that has room for them. */
static void ask_for_packing(struct library *library, const struct versions *versions, Elf64_Addr place)
{
    Elf64_Addr old_names = value(library, DT_STRTAB), old_table = value(library, DT_VERNEED);
    size_t names = value(library, DT_STRSZ), size = versions->end - old_table;
    Elf64_Addr table = place + aligned(names + sizeof(PACKS)), added = table + aligned(size);

    memcpy(at(library, place, names), at(library, old_names, names), names);
    memcpy(at(library, place + names, sizeof(PACKS)), PACKS, sizeof(PACKS));
    memcpy(at(library, table, size), at(library, old_table, size), size);
    Elf64_Addr last = table + (versions->last_of_libc - old_table);
    *(Elf64_Vernaux *)at(library, added, sizeof(Elf64_Vernaux)) =
        (Elf64_Vernaux){ .vna_hash = hash_of(PACKS), .vna_other = versions->highest + 1, .vna_name = (Elf64_Word)names };
    ((Elf64_Vernaux *)at(library, last, sizeof(Elf64_Vernaux)))->vna_next = (Elf64_Word)(added - last);
    ((Elf64_Verneed *)at(library, table + (versions->libc - old_table), sizeof(Elf64_Verneed)))->vn_cnt++;
    set(library, DT_STRTAB, place);
    set(library, DT_STRSZ, names + sizeof(PACKS));
    set(library, DT_VERNEED, table);
    resize(library, old_names, place, names + sizeof(PACKS));
    resize(library, old_table, table, added + sizeof(Elf64_Vernaux) - table);
}

static bool is_packable(const struct library *library, const Elf64_Rela *relocation)
{
    return ELF64_R_TYPE(relocation->r_info) == RELATIVE && relocation->r_offset % WORD == 0 && at(library, relocation->r_offset, WORD) != NULL;
}

/* Takes those out that can be packed, whose addends go where they will be counted up. */
static void take_out(struct library *library, const struct table *table)
{
    Elf64_Rela *kept = table->first;

    for (const Elf64_Rela *one = kept; one < table->first + table->count; one++) {
        if (is_packable(library, one))
            *(Elf64_Xword *)at(library, one->r_offset, WORD) = (Elf64_Xword)one->r_addend;
        else
            *kept++ = *one;
    }
    shorten(library, table, (size_t)(kept - table->first));
}

/* What is packed stands behind what is left of the first table. A library without room for that is left as it is. */
static bool pack(struct library *library, struct counts *counts)
{
    struct table table[2];
    struct versions versions;
    int found = tables(library, table);
    size_t count = 0, in_first = 0, most = 0;

    if (found < 0 || !find_versions(library, &versions))
        return false;
    if (found == 0 || table[0].at != DT_RELA || entry(library, DT_RELR) != NULL || versions.libc == 0)
        return true;
    for (int i = 0; i < found; i++)
        most += table[i].count;
    Elf64_Addr *addresses = malloc(most * (sizeof(Elf64_Addr) + sizeof(Elf64_Xword)));
    if (addresses == NULL)
        return false;
    Elf64_Xword *words = addresses + most;
    for (int i = 0; i < found; i++) {
        for (const Elf64_Rela *one = table[i].first; one < table[i].first + table[i].count; one++) {
            if (is_packable(library, one)) {
                addresses[count++] = one->r_offset;
                in_first += i == 0;
            }
        }
    }
    qsort(addresses, count, sizeof(*addresses), by_address);
    size_t size = write_bitmaps(addresses, count, words) * WORD;
    Elf64_Addr end = value(library, DT_RELA) + table[0].count * sizeof(Elf64_Rela);
    Elf64_Addr start = end - in_first * sizeof(Elf64_Rela), place = start + size;
    if (place + room_to_ask(library, &versions) <= end && spare(library) + (entry(library, DT_RELACOUNT) != NULL) >= 3) {
        for (int i = 0; i < found; i++)
            take_out(library, &table[i]);
        memcpy(at(library, start, size), words, size);
        ask_for_packing(library, &versions, place);
        if (entry(library, DT_RELACOUNT) != NULL)
            remove_entry(library, entry(library, DT_RELACOUNT));
        set(library, DT_RELR, start);
        set(library, DT_RELRSZ, size);
        set(library, DT_RELRENT, WORD);
        counts->packed += count;
    }
    free(addresses);
    return true;
}

struct wishes {
    const char *without;
    bool bind, pack;
};

static bool prepare(struct library *library, const struct wishes *wishes, struct counts *counts)
{
    return is_library(library) && find_dynamic(library) && (wishes->without == NULL || cut_off(library, wishes->without, counts)) &&
           (!wishes->bind || bind(library, counts)) && (!wishes->pack || pack(library, counts));
}

static bool prepare_file(const char *path, const struct wishes *wishes, struct counts *counts)
{
    bool done = false;
    struct stat status;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return false;
    if (fstat(fd, &status) == 0 && status.st_size > 0) {
        struct library library = { .size = (size_t)status.st_size };
        /* Written back as a whole, or not at all. */
        library.bytes = mmap(NULL, library.size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        if (library.bytes != MAP_FAILED) {
            done = prepare(&library, wishes, counts) && pwrite(fd, library.bytes, library.size, 0) == (ssize_t)library.size;
            munmap(library.bytes, library.size);
        }
    }
    close(fd);
    return done;
}

int main(int count, char **words)
{
    struct counts counts = { 0 };
    struct wishes wishes = { 0 };
    int first = 1;

    for (; first < count && strncmp(words[first], "--", 2) == 0; first++) {
        if (strcmp(words[first], "--bind") == 0)
            wishes.bind = true;
        else if (strcmp(words[first], "--pack") == 0)
            wishes.pack = true;
        else if (strcmp(words[first], "--without") == 0 && first + 1 < count)
            wishes.without = words[++first];
        else
            break;
    }
    for (int i = first; i < count; i++) {
        if (!prepare_file(words[i], &wishes, &counts)) {
            fprintf(stderr, "prepare-library: %s: is no shared library of this machine", words[i]);
            fprintf(stderr, wishes.without == NULL ? ", or damaged\n" : " that can be without %s, or damaged\n", wishes.without);
            return 1;
        }
    }
    printf("%zu cut off, %zu bound, %zu packed\n", counts.cut, counts.bound, counts.packed);
    return 0;
}

//! Modules without calls of the function tracer, and without the tables for traces that the kernel works through while it loads them.
//!
//! For each call the kernel writes a NOP, and searches the module's symbols one by one (Linux 5.19 and later on x86-64:
//! kernel/trace/ftrace.c, `test_for_valid_rec()`); and for each enumeration constant it scans the formats of all trace events of the module
//! (kernel/trace/trace_events.c, `trace_event_update_all()`). ext4 has 985 calls: they are most of the work of loading it.
//!
//! Half of the rest is that the kernel sorts the table of the stack unwinder (arch/x86/kernel/unwind_orc.c, `unwind_module_init()`), which has
//! 14,424 entries for ext4. Where a function has no entry, the unwinder takes it for one with a frame pointer, and counts what follows as not
//! reliable (`unwind_next_frame()`).

use object::LittleEndian;
use object::elf::{self, FileHeader64, Rela64, SectionHeader64};
use object::read::elf::{FileHeader as _, Rela as _, SectionHeader as _, Sym as _};

type Section = SectionHeader64<LittleEndian>;

/// The function that is called at the start of each function.
const TRACER: &[u8] = b"__fentry__";
/// The addresses of these calls, the enumeration constants in the formats of trace events, and the two halves of the unwinder's table.
const TABLES: [&[u8]; 4] = [b"__mcount_loc", b"_ftrace_eval_map", b".orc_unwind_ip", b".orc_unwind"];
/// The opcode of a call with a displacement of 32 bits.
const CALL: u8 = 0xe8;
/// The NOP that the kernel, or objtool at its build, writes in the place of such a call: `nopl 0(%rax,%rax)`.
const NOP: [u8; 5] = [0x0f, 0x1f, 0x44, 0, 0];

/// New bytes at an offset.
type Edit = (usize, &'static [u8]);

/// Replaces the calls in a module of x86-64 by NOPs, and empties the tables. A module that has other references to the tracer, or that is
/// not well-formed, stays as it is.
pub(super) fn untrace(module: &mut [u8]) {
    let edits = edits(module).unwrap_or_default();
    let is_inside = |(start, bytes): &Edit| start.checked_add(bytes.len()).is_some_and(|end| end <= module.len());
    if edits.iter().all(is_inside) {
        for (start, bytes) in edits {
            module[start..start + bytes.len()].copy_from_slice(bytes);
        }
    }
}

fn edits(module: &[u8]) -> Option<Vec<Edit>> {
    let endian = LittleEndian;
    let header = FileHeader64::<LittleEndian>::parse(module).ok()?;
    if (header.e_machine(endian), header.e_type(endian)) != (elf::EM_X86_64, elf::ET_REL) {
        return None;
    }
    let sections = header.sections(endian, module).ok()?;
    let symbols = sections.symbols(endian, module, elf::SHT_SYMTAB).ok()?;
    let tracer = symbols.enumerate().find(|(_, symbol)| symbol.name(endian, symbols.strings()) == Ok(TRACER));
    let tracer = tracer.map(|(index, _)| index.0);
    let is_table = |section: &Section| {
        let name = sections.section_name(endian, section);
        name.is_ok_and(|name| TABLES.contains(&name))
    };
    let mut edits = Vec::new();
    for (index, section) in sections.enumerate() {
        let relocations = section.rela(endian, module).ok()?;
        let target = match relocations {
            Some(_) => sections.section(section.info_link(endian)).ok()?,
            None => section,
        };
        if is_table(target) {
            let start = usize::try_from(header.e_shoff(endian)).ok()? + index.0 * size_of::<Section>();
            edits.push((start + std::mem::offset_of!(Section, sh_size), &[0; 8][..]));
            continue;
        }
        for (number, relocation) in relocations.into_iter().flat_map(|(all, _)| all).enumerate() {
            if Some(relocation.r_sym(endian, false) as usize) != tracer {
                continue;
            }
            // The displacement is the operand, after the opcode.
            let start = usize::try_from(target.sh_offset(endian).checked_add(relocation.r_offset(endian))?)
                .ok()?
                .checked_sub(1)?;
            let kind = relocation.r_type(endian, false);
            if !matches!(kind, elf::R_X86_64_PLT32 | elf::R_X86_64_PC32) || module.get(start) != Some(&CALL) {
                return None;
            }
            edits.push((start, &NOP));
            // R_X86_64_NONE
            let place = usize::try_from(section.sh_offset(endian)).ok()? + number * size_of::<Rela64<LittleEndian>>();
            edits.push((place + std::mem::offset_of!(Rela64<LittleEndian>, r_info), &[0; 8]));
        }
    }
    Some(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A section: its name, its type, its content, and sh_link and sh_info.
    type Part = (&'static str, u32, Vec<u8>, [u32; 2]);

    fn relocation(at: u64, symbol: u64, kind: u64, addend: i64) -> Vec<u8> {
        [at.to_le_bytes(), (symbol << 32 | kind).to_le_bytes(), addend.to_le_bytes()].concat()
    }

    /// Returns a module with two functions, as gcc compiles them with `-pg -mfentry -mrecord-mcount`; `kind` is the type of the relocations
    /// of the calls.
    fn module(machine: u16, kind: u32) -> Vec<u8> {
        let code = [0xe8, 0, 0, 0, 0, 0xc3, 0x90, 0x90, 0xe8, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0, 0xc3].to_vec();
        let symbol =
            |name: u32, section: u16| [&name.to_le_bytes()[..], &[0x10, 0], &section.to_le_bytes(), &[0; 16]].concat();
        let kind = u64::from(kind);
        let calls = [relocation(1, 2, kind, -4), relocation(9, 2, kind, -4), relocation(14, 3, 4, -4)].concat();
        let addresses = [relocation(0, 1, 1, 0), relocation(8, 1, 1, 8)].concat();
        let parts: [Part; 12] = [
            ("", 0, vec![], [0; 2]),
            (".text", 1, code, [0; 2]),
            (".rela.text", 4, calls, [10, 1]),
            ("__mcount_loc", 1, vec![0; 16], [0; 2]),
            (".rela__mcount_loc", 4, addresses, [10, 3]),
            ("_ftrace_eval_map", 1, vec![0; 8], [0; 2]),
            (".rela_ftrace_eval_map", 4, relocation(0, 1, 1, 0), [10, 5]),
            (".orc_unwind_ip", 1, vec![0; 4], [0; 2]),
            (".rela.orc_unwind_ip", 4, relocation(0, 1, 2, 0), [10, 7]),
            (".orc_unwind", 1, vec![0; 6], [0; 2]),
            (".symtab", 2, [symbol(0, 0), symbol(0, 1), symbol(1, 0), symbol(12, 0)].concat(), [11, 1]),
            (".strtab", 3, b"\0__fentry__\0other\0".to_vec(), [0; 2]),
        ];
        let (mut content, mut headers, mut names) = (vec![0; 64], Vec::new(), Vec::new());
        for (name, kind, bytes, links) in parts {
            let sizes = [content.len() as u64, bytes.len() as u64];
            headers.extend([names.len() as u32, kind].iter().flat_map(|word| word.to_le_bytes()));
            headers.extend([[0, 0], sizes].concat().iter().flat_map(|word| word.to_le_bytes()));
            headers.extend(links.iter().flat_map(|word| word.to_le_bytes()));
            headers.extend([1_u64, 24].iter().flat_map(|word| word.to_le_bytes()));
            content.extend(bytes);
            names.extend([name.as_bytes(), b"\0"].concat());
        }
        let shstrtab = [names.len() as u32, 3].iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        names.extend(b".shstrtab\0");
        headers.extend(shstrtab);
        headers.extend(
            [0, 0, content.len() as u64, names.len() as u64, 0, 1, 0].iter().flat_map(|word| word.to_le_bytes()),
        );
        content.extend(names);
        let start = content.len() as u64;
        content.extend(headers);
        content[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\0\0");
        content[18..20].copy_from_slice(&machine.to_le_bytes());
        content[20] = 1;
        content[40..48].copy_from_slice(&start.to_le_bytes());
        content[52..64].copy_from_slice(&[64, 0, 0, 0, 0, 0, 64, 0, 13, 0, 12, 0]);
        content
    }

    fn untraced(mut module: Vec<u8>) -> Vec<u8> {
        untrace(&mut module);
        module
    }

    #[test]
    fn calls_become_nops_and_tables_empty() {
        let before = module(elf::EM_X86_64, elf::R_X86_64_PLT32);
        let after = untraced(before.clone());
        let nop = [0x0f, 0x1f, 0x44, 0, 0];
        let code = [&nop[..], &[0xc3, 0x90, 0x90], &nop, &[0xe8, 0, 0, 0, 0, 0xc3]].concat();
        assert_eq!(after[64..64 + code.len()], code);
        let header = FileHeader64::<LittleEndian>::parse(&*after).unwrap();
        let sections = header.sections(LittleEndian, &*after).unwrap();
        let sizes: Vec<u64> = sections.iter().map(|section| section.sh_size(LittleEndian)).collect();
        assert_eq!(sizes[1..=9], [19, 72, 0, 0, 0, 0, 0, 0, 0]);
        let (relocations, _) = sections.iter().nth(2).unwrap().rela(LittleEndian, &*after).unwrap().unwrap();
        let kinds: Vec<u32> = relocations.iter().map(|relocation| relocation.r_type(LittleEndian, false)).collect();
        assert_eq!(kinds, [elf::R_X86_64_NONE, elf::R_X86_64_NONE, elf::R_X86_64_PLT32]);
        let changed = before.iter().zip(&after).filter(|(one, other)| one != other).count();
        // Three bytes of two calls, the symbol and the type of their relocations, a byte of seven sizes.
        assert_eq!((changed, after.len()), (2 * 3 + 2 * 2 + 7, before.len()));
        assert_eq!(untraced(after.clone()), after);
    }

    #[test]
    fn another_reference_to_the_tracer_or_another_machine_is_left() {
        for before in [module(elf::EM_X86_64, elf::R_X86_64_64), module(elf::EM_AARCH64, elf::R_X86_64_PLT32)] {
            assert_eq!(untraced(before.clone()), before);
        }
        let mut other = module(elf::EM_X86_64, elf::R_X86_64_PC32);
        other[64] = 0xe9;
        assert_eq!(untraced(other.clone()), other);
    }

    #[test]
    fn damaged_files_are_edited_or_left() {
        let whole = module(elf::EM_X86_64, elf::R_X86_64_PLT32);
        for end in 0..whole.len() {
            untrace(&mut whole[..end].to_vec());
        }
        for place in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[place] = byte;
                untrace(&mut damaged);
            }
        }
    }
}

//! Small static programs of machine code.

/// Returns an ELF file with one segment, which is entered at the start of `code`.
#[must_use]
pub fn program(code: &[u8]) -> Vec<u8> {
    const ADDRESS: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let halves = |file: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    let longs = |file: &mut Vec<u8>, values: &[u64]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    // ET_EXEC, EM_X86_64, EV_CURRENT; entry, program headers, section headers; flags, sizes and numbers of the headers.
    halves(&mut file, &[2, 62, 1, 0]);
    longs(&mut file, &[ADDRESS + HEADERS, 64, 0]);
    halves(&mut file, &[0, 0, 64, 56, 1, 64, 0, 0]);
    // PT_LOAD, readable and executable.
    halves(&mut file, &[1, 0, 5, 0]);
    let size = HEADERS + code.len() as u64;
    longs(&mut file, &[0, ADDRESS, ADDRESS, size, size, 0x1000]);
    file.extend(code);
    file
}

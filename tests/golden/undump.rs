/// Returns the bytes that `hexdump -C` shows.
pub(crate) fn undump(dump: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut last = Vec::new();
    for line in dump.lines().filter(|line| *line != "*") {
        let mut fields = line.split('|').next().unwrap().split_whitespace();
        let at = usize::from_str_radix(fields.next().unwrap(), 16).unwrap();
        while bytes.len() < at {
            bytes.extend_from_slice(&last); // lines that a "*" replaces
        }
        last = fields.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        bytes.extend_from_slice(&last);
    }
    bytes
}

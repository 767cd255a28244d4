//! A strict JSON reader, so that what the C code puts together is judged by other code.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Word(String),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a whole document; panics with the place where it is no JSON.
    pub fn read(text: &str) -> Json {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value();
        reader.blanks();
        assert_eq!(reader.at, text.len(), "something follows the value");
        value
    }

    /// The value at "a.b.0".
    pub fn at(&self, path: &str) -> &Json {
        path.split('.').fold(self, |value, key| match value {
            Json::Object(members) => {
                let found = members.iter().find(|(name, _)| name == key);
                &found.unwrap_or_else(|| panic!("{path}: no member {key}")).1
            }
            Json::List(items) => &items[key.parse::<usize>().expect("a list has numbers")],
            _ => panic!("{path}: {key} is in nothing"),
        })
    }

    pub fn number(&self, path: &str) -> u64 {
        match self.at(path) {
            Json::Number(number) => *number as u64,
            other => panic!("{path} is no number: {other:?}"),
        }
    }

    pub fn text(&self, path: &str) -> &str {
        match self.at(path) {
            Json::Text(text) => text,
            other => panic!("{path} is no text: {other:?}"),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    /// Takes the mark if it is next.
    fn takes(&mut self, mark: char) -> bool {
        self.blanks();
        let found = self.rest().starts_with(mark);
        self.at += if found { mark.len_utf8() } else { 0 };
        found
    }

    fn must_take(&mut self, mark: char) {
        assert!(self.takes(mark), "no {mark} at {}: {:.40}", self.at, self.rest());
    }

    fn value(&mut self) -> Json {
        if self.takes('{') {
            let mut members: Vec<(String, Json)> = Vec::new();
            while !self.takes('}') {
                if !members.is_empty() {
                    self.must_take(',');
                }
                self.must_take('"');
                let name = self.string();
                assert!(members.iter().all(|(other, _)| *other != name), "{name} twice");
                self.must_take(':');
                let value = self.value();
                members.push((name, value));
            }
            return Json::Object(members);
        }
        if self.takes('[') {
            let mut items = Vec::new();
            while !self.takes(']') {
                if !items.is_empty() {
                    self.must_take(',');
                }
                items.push(self.value());
            }
            return Json::List(items);
        }
        if self.takes('"') {
            return Json::Text(self.string());
        }
        let rest = self.rest();
        let len = rest.find([',', ']', '}', ' ', '\n']).unwrap_or(rest.len());
        let word = rest[..len].to_owned();
        self.at += len;
        if ["true", "false", "null"].contains(&word.as_str()) {
            return Json::Word(word);
        }
        Json::Number(word.parse().unwrap_or_else(|_| panic!("{word:?} is no number")))
    }

    /// Behind the first quote.
    fn string(&mut self) -> String {
        let mut string = String::new();
        loop {
            let next = self.rest().chars().next().expect("a string has an end");
            self.at += next.len_utf8();
            match next {
                '"' => return string,
                '\\' => {
                    let escape = self.rest().chars().next().expect("an escape has a letter");
                    self.at += escape.len_utf8();
                    string.push(match escape {
                        'u' => {
                            let code = u32::from_str_radix(&self.rest()[..4], 16).unwrap();
                            self.at += 4;
                            char::from_u32(code).unwrap()
                        }
                        'n' => '\n',
                        't' => '\t',
                        '"' | '\\' | '/' => escape,
                        other => panic!("\\{other} is no escape"),
                    });
                }
                control if control < ' ' => panic!("a control character in a string"),
                other => string.push(other),
            }
        }
    }
}

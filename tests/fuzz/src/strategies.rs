//! Inputs: made of the pieces that a format has, or of the corpus, and then bent.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any},
    prop_oneof,
    sample::{Index, select},
    strategy::{BoxedStrategy, Union},
};

type Inputs = BoxedStrategy<Vec<u8>>;

const MARKDOWN: &[&str] = &[
    "/deploy",
    "/build_run",
    "/run --set a=1",
    "/build-run",
    "/DEPLOY",
    "/depoly",
    "/run 'open",
    "//deploy",
    "/ deploy",
    "please do not /deploy yet",
    "thanks",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    "\t",
    "    ",
    " ",
    "```",
    "````",
    "~~~",
    "`",
    "``",
    "> ",
    ">",
    "- ",
    "1. ",
    "# ",
    "===",
    "---",
    "***",
    "*",
    "**",
    "_",
    "|",
    "\n|---|\n",
    "<!--",
    "-->",
    "<div>",
    "</div>",
    "<b>",
    "</b>",
    "<script>",
    "<?",
    "?>",
    "<![CDATA[",
    "]]>",
    "[",
    "](",
    ")",
    "[^1]:",
    "[x]: /deploy",
    "![",
    "\\",
    "&#47;deploy",
    "&lt;",
    "\u{a0}",
    "\u{200b}",
    "\u{2028}",
    "é",
    "🦀",
    "\0",
    "$(touch x)",
    "| /deploy |",
    "~~",
    ":::",
];

const YAML: &[&str] = &[
    "apiVersion: kfops.dev/v1\n",
    "kind: Project\n",
    "images:\n",
    "  registry: r.example.com/x\n",
    "  build:\n",
    "    - {name: a, context: a}\n",
    "    - {name: a, context: ../a, include: [..]}\n",
    "    - name: b\n",
    "      context: ./b//c\n",
    "      dockerfile: ../../Dockerfile\n",
    "      include: [/etc, src]\n",
    "pipeline:\n",
    "  name: iris\n",
    "  source: p.py\n",
    "  source: ../p.py\n",
    "  arguments: {a: 1, b: [x, {y: z}]}\n",
    "  timeout: 5m\n",
    "serving:\n",
    "  template: t.yaml\n",
    "  sample: ..\n",
    "environments:\n",
    "  build: team\n",
    "  production: {namespace: p, strategy: {canary: [10, 50]}}\n",
    "  staging: {namespace: s}\n",
    "policy:\n",
    "  deploy: {permission: maintain, approvals: 1}\n",
    "timeouts:\n",
    "  run: 1h\n",
    "&a ",
    "*a",
    "<<: *a\n",
    "!!binary ",
    "- ",
    "? ",
    ": ",
    "|\n",
    ">-\n",
    "'",
    "\"",
    "{",
    "}",
    "[",
    "]",
    "#",
    "---\n",
    "...\n",
    "\t",
    "\r\n",
    "\n",
    "  ",
    "\u{feff}",
    "\u{85}",
    "\0",
    "é",
    "🦀",
    "~",
    "null",
    "yes",
    "0x1f",
    "1e999",
    "a: b\n",
    "%YAML 1.2\n",
];

const WORDS: &[&str] = &[
    "build",
    "run",
    "build_run",
    "deploy",
    "staging_deploy",
    "ship",
    "plan",
    "promote",
    "rollback",
    "cancel",
    "retry",
    "status",
    "why",
    "unlock",
    "help",
    " ",
    "--set",
    "=",
    "a=1",
    "--set=a=b=c",
    "--version-id",
    "--run-id",
    "runs/",
    "--force",
    "--canary",
    "10,50",
    "0",
    "99%",
    "100",
    "--to",
    "iris-00007",
    "commands/c-1",
    "..",
    "/",
    "'",
    "\"",
    "\\",
    "$(x)",
    "`",
    "-",
    "--",
    "é",
    "\0",
    "null",
    "[1, 2]",
    "{a: 1}",
    "'a b'",
    "pipeline_args.x=1",
    "trainer",
    ",",
    "%",
    ".",
    ":",
    "&a *a",
];

const PAYLOAD: &str = r#"issue_comment
{"action":"created","issue":{"number":3,"pull_request":{"url":"x"}},"comment":{"id":7,"body":"/deploy","user":{"login":"author","type":"User"}},"repository":{"full_name":"o/r","owner":{"login":"o"}},"sender":{"login":"author","type":"User"}}"#;

const JSON: &[&str] = &[
    "null",
    "true",
    "0",
    "-1",
    "1e400",
    "18446744073709551616",
    "\"\"",
    "[]",
    "{}",
    "\"created\"",
    "\"edited\"",
    "\"/deploy\"",
    "\"kfops[bot]\"",
    "\"KFOPS[BOT]\"",
    "\"Bot\"",
    "\"../..\"",
    "\"o/r/s\"",
    "\"o/..\"",
    "\"o\\u0000/r\"",
    "\"\\ud800\"",
    "\"<!-- kfops:c-1 -->\\n/deploy\"",
    "\"\\n\\n/build_run\\r\\n\"",
    "\"a/b?c#d\"",
    "[[[[[[[[]]]]]]]]",
];

fn pieces(all: &'static [&'static str], most: usize) -> Inputs {
    let noise = "[ -~\\n]{0,6}";
    let piece = prop_oneof![8 => select(all).prop_map(str::to_owned), 1 => noise, 1 => "\\PC{0,4}"];
    vec(piece, 0..most).prop_map(|parts| parts.concat().into_bytes()).boxed()
}

pub(crate) fn comment() -> Inputs {
    pieces(MARKDOWN, 40)
}

pub(crate) fn yaml() -> Inputs {
    let example = include_str!("../../../examples/iris/kfops.yaml");
    prop_oneof![2 => pieces(YAML, 30), 1 => Just(example.as_bytes().to_vec())].boxed()
}

pub(crate) fn line() -> Inputs {
    pieces(WORDS, 12)
}

pub(crate) fn bytes() -> Inputs {
    vec(any::<u8>(), 0..600).boxed()
}

/// A payload with some of its values replaced.
pub(crate) fn payload() -> Inputs {
    let events = select(&["issue_comment", "pull_request", "check_run", "push", ""][..]);
    let changes = vec((any::<Index>(), select(JSON)), 0..4);
    (events, changes, any::<bool>())
        .prop_map(|(event, changes, usual)| {
            let mut text = PAYLOAD.to_owned();
            for (index, value) in changes {
                // After a colon a value begins; it ends at a comma or a brace.
                let colons: Vec<usize> = text.match_indices("\":").map(|(at, _)| at + 2).collect();
                let Some(start) = colons.get(index.index(colons.len().max(1))) else { continue };
                let end = text[*start..].find([',', '}']).map_or(text.len(), |end| start + end);
                text.replace_range(*start..end, value);
            }
            if usual { text } else { text.replacen("issue_comment", event, 1) }.into_bytes()
        })
        .boxed()
}

/// One change of bytes.
#[derive(Debug, Clone)]
enum Bend {
    Flip(Index, u8),
    Cut(Index, Index),
    Double(Index, Index),
    Insert(Index, Vec<u8>),
    Repeat(Index, u16),
}

fn bend() -> impl Strategy<Value = Bend> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Bend::Flip(at, byte)),
        2 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Bend::Cut(from, to)),
        2 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Bend::Double(from, to)),
        2 => (any::<Index>(), vec(any::<u8>(), 1..5)).prop_map(|(at, bytes)| Bend::Insert(at, bytes)),
        1 => (any::<Index>(), 1_u16..3000).prop_map(|(at, times)| Bend::Repeat(at, times)),
    ]
}

/// Longest input.
const LONGEST: usize = 64 << 10;

fn apply(mut input: Vec<u8>, bends: Vec<Bend>) -> Vec<u8> {
    for bend in bends {
        let at = |index: &Index| index.index(input.len() + 1);
        match bend {
            Bend::Flip(index, byte) => {
                let at = at(&index);
                if let Some(one) = input.get_mut(at) {
                    *one = byte;
                }
            }
            Bend::Cut(from, to) => {
                let (from, to) = (at(&from), at(&to));
                input.drain(from.min(to)..from.max(to));
            }
            Bend::Double(from, to) => {
                let (from, to) = (at(&from).min(at(&to)), at(&from).max(at(&to)));
                let part = input[from..to].to_vec();
                input.splice(to..to, part);
            }
            Bend::Insert(index, bytes) => {
                let at = at(&index);
                input.splice(at..at, bytes);
            }
            Bend::Repeat(index, times) => {
                let at = at(&index);
                let part = input[at.saturating_sub(3)..at].repeat(usize::from(times));
                input.splice(at..at, part);
            }
        }
        input.truncate(LONGEST);
    }
    input
}

pub(crate) fn bent(made: Inputs, corpus: Vec<Vec<u8>>) -> Inputs {
    let mut sources = vec![(3, made)];
    if !corpus.is_empty() {
        sources.push((2, select(corpus).boxed()));
    }
    let bends = prop_oneof![1 => Just(Vec::new()), 2 => vec(bend(), 1..6)];
    (Union::new_weighted(sources), bends).prop_map(|(input, bends)| apply(input, bends)).boxed()
}

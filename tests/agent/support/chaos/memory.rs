//! What the server answered before: what a lying proxy has to lie with.

use super::head::Head;

/// Answers beyond this much in all are not remembered.
const MOST_BYTES: usize = 256 << 20;

/// Answers, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Memory {
    answers: Vec<Remembered>,
    bytes: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Remembered {
    /// Target and range of the request.
    question: (String, String),
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
}

impl Remembered {
    pub(super) fn new(request: &Head, head: &Head, body: &[u8]) -> Self {
        let range = request.field("range").unwrap_or_default();
        Self { question: (request.target().to_owned(), range.to_owned()), head: head.clone(), body: body.to_vec() }
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.head.status() == other.head.status() && self.body == other.body
    }
}

impl Memory {
    pub(super) fn remember(&mut self, answer: &Remembered) {
        let is_known = |known: &Remembered| known.question == answer.question && known.says_the_same(answer);
        if self.bytes + answer.body.len() <= MOST_BYTES && !self.answers.iter().any(is_known) {
            self.bytes += answer.body.len();
            self.answers.push(answer.clone());
        }
    }

    /// The first answer to the same question that was another.
    pub(super) fn older(&self, answer: &Remembered) -> Option<&Remembered> {
        self.answers.iter().find(|known| known.question == answer.question && !known.says_the_same(answer))
    }

    /// A body of the same length in answer to the question for another object.
    pub(super) fn lookalike(&self, answer: &Remembered) -> Option<&Remembered> {
        let is_one = |known: &&Remembered| {
            known.question.0 != answer.question.0
                && known.head.status() == answer.head.status()
                && known.body.len() == answer.body.len()
                && known.body != answer.body
        };
        self.answers.iter().find(is_one)
    }
}

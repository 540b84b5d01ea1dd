//! `queues` on an SQS API: dead letters are sent again, and the audit log has it whatever became of them.

use std::io::{Read, Write};
use std::net::TcpStream;

use portcullis_engine::{Queue, SqsOptions, SqsQueues};
use portcullis_store::dead_letter::DeadLetterQueue;
use portcullis_testkit::{MariaDb, Moto};

use crate::installation::Installation;

/// What an installation on that SQS and a database of its own has to do with them.
struct Site {
    installation: Installation,
    database: &'static str,
    moto: Moto,
    runtime: tokio::runtime::Runtime,
    queues: SqsQueues,
}

impl Site {
    fn new(database: &'static str) -> Self {
        let url = MariaDb::shared().create_database(database).expect("a database");
        let (installation, moto) = (Installation::new(), Moto::start());
        installation.set_database(&format!("url = \"{url}\""));
        let text = std::fs::read_to_string(installation.config()).expect("readable");
        let endpoint = moto.endpoint();
        let section = format!("[queue]\ntype = \"localstack\"\nendpoint = \"{endpoint}\"\n");
        std::fs::write(installation.config(), format!("{section}{text}")).expect("writable");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let options = SqsOptions {
            region: "us-east-1".to_owned(),
            endpoint: Some(endpoint),
            is_emulated: true,
            prefix: String::new(),
        };
        let queues = runtime.block_on(SqsQueues::new(options));
        installation.json(&["queues", "init"]);
        Self { installation, database, moto, runtime, queues }
    }

    /// Puts what a queue carries among the dead letters of requests.
    fn bury(&self, queue: Queue) {
        let home = self.queues.dead_letter_name(DeadLetterQueue::Request);
        let body = format!("{{\"queue\":\"{}\"}}", queue.as_str());
        self.runtime.block_on(self.queues.send(&home, &body, 1)).expect("sends");
    }

    fn count(&self, name: &str) -> u64 {
        self.runtime.block_on(self.queues.count(name)).expect("counts").total()
    }

    /// What the log has of redrives, the oldest first.
    fn audit(&self) -> Vec<String> {
        let select = "SELECT action, subject, detail FROM audit WHERE action LIKE 'queue.%' ORDER BY sequence";
        let rows = MariaDb::shared().query(self.database, select).expect("reads");
        rows.lines().map(|row| row.replace('\t', " | ")).collect()
    }

    /// Takes a queue away, as somebody with the console of AWS would.
    fn remove(&self, queue: Queue) {
        let url = format!("{}/123456789012/{}", self.moto.endpoint(), queue.as_str());
        let body = format!("Action=DeleteQueue&Version=2012-11-05&QueueUrl={url}");
        let mut stream = TcpStream::connect(("127.0.0.1", self.moto.port())).expect("it listens");
        let request = format!(
            "POST / HTTP/1.1\r\nhost: sqs.us-east-1.amazonaws.com\r\nconnection: close\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

const REDRIVE: [&str; 5] =
    ["queues", "redrive", "request-dlq", "--reason", "the signers run again"];

#[test]
fn a_redrive_is_in_the_audit_log_before_and_after() {
    let site = Site::new("redriven");
    site.bury(Queue::TxRequest);
    site.bury(Queue::TxQueued);
    let redriven = site.installation.json(&REDRIVE);
    assert_eq!((&redriven["sent"], &redriven["foreign"]), (&2.into(), &0.into()));
    assert_eq!(
        site.audit(),
        [
            "queue.redrive | request-dlq | at most 1000: the signers run again",
            "queue.redriven | request-dlq | 2 sent again, 0 left that are not ours",
        ]
    );
}

#[test]
fn a_redrive_that_fails_midway_is_in_the_audit_log_with_what_it_sent() {
    let site = Site::new("redriven_half");
    site.bury(Queue::TxRequest);
    site.bury(Queue::TxQueued);
    site.remove(Queue::TxQueued);
    let told = site.installation.refused(&REDRIVE, 4);
    assert!(told.contains("1 sent again") && told.contains("tx-queued does not exist"), "{told}");
    let audit = site.audit();
    let [intent, outcome] = &audit[..] else { panic!("{audit:?}") };
    assert!(intent.starts_with("queue.redrive | request-dlq | at most 1000"), "{intent}");
    assert!(
        outcome.starts_with("queue.redriven | request-dlq | 1 sent again")
            && outcome.contains("1 not sent: the queue tx-queued does not exist"),
        "{outcome}"
    );
    assert_eq!(site.count("tx-request"), 1);
    assert_eq!(site.count("request-dlq"), 1, "what was sent is gone, what was not is there");
}

//! A create on its way from the client to the daemon: what recipes know of it, what they may ask
//! the daemon for it, and how it is rejected.

use std::collections::BTreeSet;

use crate::error::Refusal;
use crate::http1;
use crate::http1::query::Query;
use crate::inject::expected::Check;
use crate::inject::image_memory::ImageMemory;
use crate::json::{MemberError, Object};
use crate::labels::Labels;
use crate::policy::Policy;
use crate::text::shown;

/// The parts of a client's request that a recipe labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CreateRequest {
    /// The version prefix of its path, such as `/v1.41`, or nothing.
    pub(crate) version: String,
    /// The rest of its path, decoded. A recipe may put an ID in the place of a name.
    pub(crate) path: Vec<u8>,
    /// The text behind the `?` of its target, or nothing.
    pub(crate) query: String,
    /// Its body, where the recipe needs it whole.
    pub(crate) body: Vec<u8>,
    /// What the client calls the thing it creates, for the log.
    pub(crate) name: Option<String>,
    /// Whether it passes as it is, because it creates nothing that could be labelled.
    pub(crate) is_unlabelled: bool,
    /// Why what it creates or names has not got the labels, if the operator may allow it.
    pub(crate) cannot_label: Option<&'static str>,
    /// Whether the daemon takes no data from its body, which may then be a form.
    pub(crate) ignores_body: bool,
}

impl CreateRequest {
    /// The name in its path, between these two. Empty if they are not there.
    pub(crate) fn name_between(&self, before: &str, after: &str) -> &[u8] {
        let name = self.path.strip_prefix(before.as_bytes());
        let name = name.and_then(|name| name.strip_suffix(after.as_bytes()));
        name.unwrap_or_default()
    }

    /// The value of a parameter of the query, as far as it is text.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let query = Query::parse(&self.query);
        let value = query.first(name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

/// All that a recipe works with: the request, what the operator wants of it, and the daemon.
pub(crate) struct Create<'c> {
    pub(crate) request: CreateRequest,
    /// What the check of a container must know.
    pub(crate) check: Check,
    policy: &'c Policy,
    daemon: &'c mut dyn Daemon,
}

/// What becomes of a create whose body is empty or `null`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empty {
    /// It stands for all defaults.
    IsDefaults,
    /// The daemon refuses it, and so does the proxy.
    IsError,
}

impl<'c> Create<'c> {
    pub(crate) fn new(
        request: CreateRequest,
        policy: &'c Policy,
        daemon: &'c mut dyn Daemon,
    ) -> Create<'c> {
        Create {
            request,
            check: Check::default(),
            policy,
            daemon,
        }
    }

    /// The labels that it gets.
    pub(crate) fn labels(&self) -> &'c Labels {
        &self.policy.labels
    }

    /// What else the operator wants of it.
    pub(crate) fn policy(&self) -> &'c Policy {
        self.policy
    }

    /// Edits the body, a JSON object.
    ///
    /// # Errors
    /// When the body is something else, or empty and must not be, and those of `edit`.
    pub(crate) fn edit_body(
        &mut self,
        empty: Empty,
        edit: impl FnOnce(&mut Object<'_>, &mut Create<'c>) -> Result<(), Rejection>,
    ) -> Result<(), Rejection> {
        let body = std::mem::take(&mut self.request.body);
        let object = Object::parse(&body).map_err(|error| {
            let what = format!("the request body {error}, so it cannot be labelled");
            Refusal::bad_request(what)
        })?;
        let mut object = match (object, empty) {
            (Some(object), _) => object,
            (None, Empty::IsDefaults) => Object::default(),
            (None, Empty::IsError) => {
                let what = "the request body is empty; it must be a JSON object";
                return Err(Refusal::bad_request(what).into());
            }
        };
        edit(&mut object, self)?;
        self.request.body = object.to_string().into_bytes();
        Ok(())
    }

    /// Edits the query.
    ///
    /// # Errors
    /// Those of `edit`.
    pub(crate) fn edit_query(
        &mut self,
        edit: impl FnOnce(&mut Query<'_>, &mut Create<'c>) -> Result<(), Rejection>,
    ) -> Result<(), Rejection> {
        let text = std::mem::take(&mut self.request.query);
        let mut query = Query::parse(&text);
        edit(&mut query, self)?;
        self.request.query = query.to_string();
        Ok(())
    }

    /// Sends a `GET` to this path of the API, in the version of the request.
    ///
    /// # Errors
    /// When the daemon cannot be reached, and when it refuses.
    pub(crate) fn get(&mut self, path: &str) -> Result<Answer, Rejection> {
        self.send("GET", path, None)
    }

    /// Sends a `POST` with JSON, as [`get`](Self::get) does.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) fn post(&mut self, path: &str, json: &str) -> Result<Answer, Rejection> {
        self.send("POST", path, Some(json))
    }

    /// Sends a `GET` to this path of the latest API that the daemon has.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) fn get_latest(&mut self, path: &str) -> Result<Answer, Rejection> {
        let answer = self.daemon.request("GET", path, None)?;
        Self::success(answer)
    }

    /// Sends a request without a body to this path, whatever the answer says. Docker's API is spoken
    /// in its latest version, Podman's own in that of the request.
    ///
    /// # Errors
    /// When the daemon cannot be reached.
    pub(crate) fn ask(&mut self, method: &str, path: &str) -> Result<Answer, Refusal> {
        let version = if path.starts_with("/libpod/") {
            &self.request.version
        } else {
            ""
        };
        self.daemon
            .request(method, &format!("{version}{path}"), None)
    }

    /// What the daemon describes at a path, or `None` where there is nothing; asked as
    /// [`ask`](Self::ask) does.
    ///
    /// # Errors
    /// When the daemon cannot be reached, or answers with another error.
    pub(crate) fn find(&mut self, path: &str) -> Result<Option<Answer>, Refusal> {
        let answer = self.ask("GET", path)?;
        match answer.status {
            200..=299 => Ok(Some(answer)),
            // The daemon redirects paths that are not clean: nothing has such a name.
            301 | 404 => Ok(None),
            status => Err(Refusal::bad_gateway(format!(
                "the daemon answered a subrequest with status {status}"
            ))),
        }
    }

    /// Holds the volumes of these names until the client's request is done, so that no other one
    /// that comes by this proxy creates or deletes them meanwhile.
    ///
    /// # Errors
    /// When another request holds one for too long.
    pub(crate) fn hold(&mut self, names: BTreeSet<String>) -> Result<(), Refusal> {
        self.daemon.hold(names)
    }

    /// The images that are remembered.
    pub(crate) fn images(&self) -> &ImageMemory {
        self.daemon.images()
    }

    /// Tells the operator something.
    pub(crate) fn warn(&mut self, what: &str) {
        self.daemon.warn(what);
    }

    /// Waits a moment before the daemon is asked again. Returns whether there is still time for it.
    pub(crate) fn pause(&mut self) -> bool {
        self.daemon.pause()
    }

    fn send(&mut self, method: &str, path: &str, body: Option<&str>) -> Result<Answer, Rejection> {
        let target = format!("{}{path}", self.request.version);
        let answer = self.daemon.request(method, &target, body)?;
        Self::success(answer)
    }

    fn success(answer: Answer) -> Result<Answer, Rejection> {
        match answer.status {
            200..=299 => Ok(answer),
            // The daemon redirects paths that are not clean, so a name in this one is not valid.
            301 => {
                let what = "the name of an image or container is not valid";
                Err(Refusal::bad_request(what).into())
            }
            // The create would get the same.
            _ => Err(Rejection::Answer(answer)),
        }
    }
}

/// The daemon as a recipe sees it: subrequests on behalf of a create.
pub(crate) trait Daemon {
    /// Sends a request and reads the whole answer. A body is sent as JSON.
    ///
    /// # Errors
    /// When the daemon cannot be reached or gives no answer that can be read.
    fn request(
        &mut self,
        method: &str,
        target: &str,
        body: Option<&str>,
    ) -> Result<Answer, Refusal>;

    /// Holds volumes, as [`Create::hold`] says.
    ///
    /// # Errors
    /// When another request holds one for too long.
    fn hold(&mut self, names: BTreeSet<String>) -> Result<(), Refusal>;

    /// The images that are remembered.
    fn images(&self) -> &ImageMemory;

    /// Tells the operator something.
    fn warn(&mut self, what: &str);

    /// Waits a moment. Returns whether there is still time for another try.
    fn pause(&mut self) -> bool;
}

/// What the daemon answers to a subrequest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether the daemon is Podman, which says so in each answer.
    pub(crate) is_podman: bool,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// What `read` makes of the body, a JSON object.
    ///
    /// # Errors
    /// When the body is something else, and when `read` cannot make anything of it: the fault is
    /// the daemon's, not the client's.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Object<'_>) -> Result<T, MemberError>,
    ) -> Result<T, Refusal> {
        match Object::parse(&self.body) {
            Ok(Some(object)) => read(&object).map_err(Answer::odd),
            Ok(None) => Err(Refusal::bad_gateway(
                "the daemon's answer to a subrequest is empty",
            )),
            Err(error) => Err(Refusal::bad_gateway(format!(
                "the daemon's answer to a subrequest {error}"
            ))),
        }
    }

    /// What `read` makes of each object in the body, a JSON list.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn read_each<T>(
        &self,
        read: impl FnMut(&Object<'_>) -> Result<T, MemberError>,
    ) -> Result<Vec<T>, Refusal> {
        let objects: Vec<Object<'_>> = serde_json::from_slice(&self.body).map_err(|_| {
            Refusal::bad_gateway("the daemon's answer to a subrequest is not a list of objects")
        })?;
        let read: Result<Vec<T>, MemberError> = objects.iter().map(read).collect();
        read.map_err(Answer::odd)
    }

    /// The string in a member of the body, a JSON object. A missing one is empty.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn string(&self, name: &'static str) -> Result<String, Refusal> {
        self.read(|object| object.get(name, "a string"))
    }

    /// The ID in a member of the body, which may stand in a path.
    ///
    /// # Errors
    /// As [`read`](Self::read), and when it is no ID.
    pub(crate) fn id(&self, name: &'static str) -> Result<String, Refusal> {
        let id = self.string(name)?;
        let is_id = |b: u8| b.is_ascii_alphanumeric() || b == b':';
        if id.is_empty() || !id.bytes().all(is_id) {
            let id = shown(&id);
            let what = format!("the daemon's answer to a subrequest has the {name} {id}");
            return Err(Refusal::bad_gateway(what));
        }
        Ok(id)
    }

    fn odd(error: MemberError) -> Refusal {
        Refusal::bad_gateway(format!(
            "the daemon's answer to a subrequest cannot be understood: {error}"
        ))
    }
}

/// Why a create is not sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// It cannot be labelled.
    Refusal(Refusal),
    /// The daemon refuses a subrequest: this is its own answer, for the client.
    Answer(Answer),
}

impl<E: Into<Refusal>> From<E> for Rejection {
    fn from(error: E) -> Rejection {
        Rejection::Refusal(error.into())
    }
}

/// What is wrong with a query.
impl From<http1::Error> for Refusal {
    fn from(error: http1::Error) -> Refusal {
        Refusal::bad_request(error.to_string())
    }
}

/// What a client sends in a member is not understood.
impl From<MemberError> for Refusal {
    fn from(error: MemberError) -> Refusal {
        Refusal::bad_request(error.to_string())
    }
}

//! Whether images are found as they should be: by name, place and owner, and in the list.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt as _, stream};
use object_store::path::Path;

use super::Check;
use super::problem::{Problem, ProblemKind};
use crate::image::manifest::{ImageId, Kind};
use crate::repository::catalog::{ImageSummary, Images};
use crate::repository::key::{self, Index};
use crate::repository::store::Listed;
use crate::repository::{RepositoryError, StoreError};

/// Index objects that are read at once.
const IN_FLIGHT: usize = 16;

/// What the index says.
#[derive(Default)]
struct Found {
    /// Names, by their objects.
    names: HashMap<Path, ImageId>,
    /// Projects, and images in their places.
    slots: HashSet<(String, ImageId)>,
    owned: HashSet<Path>,
}

impl Check<'_> {
    /// Compares the index with the images.
    pub(super) async fn index(&mut self) -> Result<(), RepositoryError> {
        let found = self.read_index().await?;
        let images: Vec<_> = self.images.iter().map(|(id, summary)| (*id, summary.clone())).collect();
        for (id, summary) in &images {
            let problems = found.problems(*id, summary);
            // Whoever deletes an image deletes its manifest first, then the rest.
            if !problems.is_empty() && self.repository.has_image(*id).await? {
                problems.into_iter().for_each(|problem| self.report.add(problem));
            }
        }
        self.list().await
    }

    async fn read_index(&mut self) -> Result<Found, RepositoryError> {
        let mut found = Found::default();
        let repository = self.repository;
        let objects = repository.store.list(&Path::from(key::PROJECTS)).await?;
        let read = |object: Listed| async move {
            let refers = match Index::of(&object.path) {
                None => Ok(None),
                Some(Index::Owned(id)) => Ok(Some(id)),
                Some(Index::Name | Index::Slot { .. }) => repository.referred(&object.path).await,
            };
            (object.path, refers)
        };
        let mut reads = Box::pin(stream::iter(objects).map(read).buffer_unordered(IN_FLIGHT));
        while let Some((path, refers)) = reads.next().await {
            match refers {
                Ok(Some(id)) => {
                    if !self.images.contains_key(&id) && !self.repository.has_image(id).await? {
                        let detail = format!("there is no image {id}, or not yet");
                        self.report.add(Problem {
                            kind: ProblemKind::Leftover,
                            object: path.to_string(),
                            image: None,
                            detail,
                        });
                    }
                    found.enter(path, id);
                }
                Ok(None) => {}
                Err(StoreError::Damaged { problem: detail, .. }) => {
                    let (kind, object) = (ProblemKind::IndexMalformed, path.to_string());
                    self.report.add(Problem { kind, object, image: None, detail });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// Compares the list for readers that cannot list with the images.
    async fn list(&mut self) -> Result<(), RepositoryError> {
        let detail = match self.repository.published_list().await {
            Ok(list) => self.difference(&list),
            Err(error) => Some(super::problem_of(error)?),
        };
        if let Some(detail) = detail {
            let (kind, object) = (ProblemKind::ListOutdated, key::list().to_string());
            self.report.add(Problem { kind, object, image: None, detail });
        }
        Ok(())
    }

    fn difference(&self, list: &Images) -> Option<String> {
        let actual: Images = self.images.iter().map(|(id, image)| (id.to_string(), image.clone())).collect();
        let missing = actual.iter().filter(|(id, image)| list.get(*id) != Some(image)).count();
        let surplus = list.keys().filter(|id| !actual.contains_key(*id)).count();
        (missing + surplus > 0)
            .then(|| format!("{missing} images are missing or other ones in it, and {surplus} are not there"))
    }
}

impl Found {
    fn enter(&mut self, path: Path, id: ImageId) {
        match Index::of(&path) {
            None => {}
            Some(Index::Slot { owner }) => {
                self.slots.insert((owner.to_owned(), id));
            }
            Some(Index::Name) => {
                self.names.insert(path, id);
            }
            Some(Index::Owned(_)) => {
                self.owned.insert(path);
            }
        }
    }

    /// What is wrong about an image.
    fn problems(&self, id: ImageId, image: &ImageSummary) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |kind, object: &Path, detail: String| {
            problems.push(Problem { kind, object: object.to_string(), image: Some(id), detail });
        };
        let (name, owned) = (key::name(&image.owner, &image.name, &image.version), key::owned(&image.owner, id));
        match self.names.get(&name) {
            None => add(ProblemKind::NameMissing, &name, "there is no such object".to_owned()),
            Some(other) if *other != id => add(ProblemKind::NameOther, &name, format!("it refers to image {other}")),
            Some(_) => {}
        }
        if image.kind == Kind::Private && !self.slots.contains(&(image.owner.clone(), id)) {
            let slots = key::all_slots(&image.owner);
            add(ProblemKind::SlotMissing, &slots, "none of them refers to the image".to_owned());
        }
        if !self.owned.contains(&owned) {
            add(ProblemKind::OwnedMissing, &owned, "there is no such object".to_owned());
        }
        problems
    }
}

; The rules of the games that alfworld-sft writes.
;
; Games of ours are played by the reference too (alfworld 0.4.2 on textworld and Fast Downward), so predicates and
; actions bear the names of ALFWorld's domain, and a command does what it does there. Parameters that the words in
; grammar.twl2 speak of are named as in the sentences: ?o an object, ?r a receptacle, ?a the agent, ?l its location.
;
; `checked` is never asked for. An action without any effect would be dropped when the game is loaded, and looking
; at something has no other.

(define (domain alfred)
  (:requirements :adl :typing)
  (:types agent location receptacle object rtype otype)

  (:predicates
    ; where things are
    (atLocation ?a - agent ?l - location)
    (receptacleAtLocation ?r - receptacle ?l - location)
    (objectAtLocation ?o - object ?l - location)
    (inReceptacle ?o - object ?r - receptacle)
    (inReceptacleObject ?inner - object ?outer - object)
    (holds ?a - agent ?o - object)
    (holdsAny ?a - agent)

    ; what things are, and what can be done with them
    (receptacleType ?r - receptacle ?rt - rtype)
    (objectType ?o - object ?ot - otype)
    (canContain ?rt - rtype ?ot - otype)
    (isReceptacleObject ?o - object)
    (openable ?r - receptacle)
    (pickupable ?o - object)
    (cleanable ?o - object)
    (heatable ?o - object)
    (coolable ?o - object)
    (sliceable ?o - object)
    (toggleable ?o - object)

    ; what has been done with them
    (opened ?r - receptacle)
    (isClean ?o - object)
    (isHot ?o - object)
    (isCool ?o - object)
    (isSliced ?o - object)
    (isToggled ?o - object)
    (checked ?x - object)
  )

  ; Going about

  (:action GotoLocation
    :parameters (?a - agent ?from ?to - location ?r - receptacle)
    :precondition (and (receptacleAtLocation ?r ?to) (atLocation ?a ?from) (not (= ?from ?to)))
    :effect (and (atLocation ?a ?to) (not (atLocation ?a ?from))))

  (:action OpenObject
    :parameters (?a - agent ?r - receptacle ?l - location)
    :precondition (and (openable ?r) (not (opened ?r)) (receptacleAtLocation ?r ?l) (atLocation ?a ?l))
    :effect (opened ?r))

  (:action CloseObject
    :parameters (?a - agent ?r - receptacle ?l - location)
    :precondition (and (openable ?r) (opened ?r) (receptacleAtLocation ?r ?l) (atLocation ?a ?l))
    :effect (not (opened ?r)))

  ; Moving things: one hand, and what can be closed must be open

  (:action PickupObject
    :parameters (?a - agent ?o - object ?r - receptacle ?l - location)
    :precondition (and
      (pickupable ?o) (not (holdsAny ?a))
      (inReceptacle ?o ?r) (receptacleAtLocation ?r ?l) (atLocation ?a ?l)
      (or (opened ?r) (not (openable ?r))))
    :effect (and
      (holds ?a ?o) (holdsAny ?a)
      (not (inReceptacle ?o ?r)) (not (objectAtLocation ?o ?l))))

  (:action PutObject
    :parameters (?a - agent ?o - object ?ot - otype ?r - receptacle ?rt - rtype ?l - location)
    :precondition (and
      (holds ?a ?o) (objectType ?o ?ot)
      (receptacleType ?r ?rt) (canContain ?rt ?ot)
      (receptacleAtLocation ?r ?l) (atLocation ?a ?l)
      (or (opened ?r) (not (openable ?r))))
    :effect (and
      (inReceptacle ?o ?r) (objectAtLocation ?o ?l)
      (not (holds ?a ?o)) (not (holdsAny ?a))))

  ; Changing what is held; nothing has to be opened for it

  (:action CleanObject
    :parameters (?a - agent ?o - object ?r - receptacle ?l - location)
    :precondition (and
      (holds ?a ?o) (cleanable ?o)
      (or (receptacleType ?r SinkBasinType) (receptacleType ?r SinkType))
      (receptacleAtLocation ?r ?l) (atLocation ?a ?l))
    :effect (isClean ?o))

  (:action HeatObject
    :parameters (?a - agent ?o - object ?r - receptacle ?l - location)
    :precondition (and
      (holds ?a ?o) (heatable ?o)
      (receptacleType ?r MicrowaveType) (receptacleAtLocation ?r ?l) (atLocation ?a ?l))
    :effect (and (isHot ?o) (not (isCool ?o))))

  (:action CoolObject
    :parameters (?a - agent ?o - object ?r - receptacle ?l - location)
    :precondition (and
      (holds ?a ?o) (coolable ?o)
      (receptacleType ?r FridgeType) (receptacleAtLocation ?r ?l) (atLocation ?a ?l))
    :effect (and (isCool ?o) (not (isHot ?o))))

  ; Changing what is nearby

  (:action ToggleObject
    :parameters (?a - agent ?o - object ?r - receptacle ?l - location)
    :precondition (and (toggleable ?o) (inReceptacle ?o ?r) (receptacleAtLocation ?r ?l) (atLocation ?a ?l))
    :effect (isToggled ?o))

  (:action SliceObject
    :parameters (?a - agent ?o - object ?knife - object ?l - location)
    :precondition (and
      (holds ?a ?knife) (or (objectType ?knife KnifeType) (objectType ?knife ButterKnifeType))
      (sliceable ?o) (objectAtLocation ?o ?l) (atLocation ?a ?l))
    :effect (isSliced ?o))

  ; Looking

  (:action look
    :parameters (?a - agent ?l - location)
    :precondition (atLocation ?a ?l)
    :effect (checked ?l))

  (:action examineReceptacle
    :parameters (?a - agent ?r - receptacle)
    :precondition (exists (?l - location) (and (receptacleAtLocation ?r ?l) (atLocation ?a ?l)))
    :effect (checked ?r))

  (:action examineObject
    :parameters (?a - agent ?o - object)
    :precondition (holds ?a ?o)
    :effect (checked ?o))

  (:action inventory
    :parameters (?a - agent)
    :precondition ()
    :effect (checked ?a))

  (:action help
    :parameters (?a - agent)
    :precondition ()
    :effect (checked ?a))
)
